package gvisor

import (
	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"
)

// runRunsc is a complete OCI runtime. It is gVisor's own list of commands
// without those that need its sidecar binaries, which would have to be
// embedded, and those for gVisor's developers.
func runRunsc() {
	const user, internal = "", "internal use only"
	cli.Run(nil, map[util.SubCommand]string{
		new(cmd.Checkpoint):   user,
		new(cmd.Create):       user,
		new(cmd.Delete):       user,
		new(cmd.Do):           user,
		new(cmd.Events):       user,
		new(cmd.Exec):         user,
		new(cmd.Features):     user,
		new(cmd.Kill):         user,
		new(cmd.List):         user,
		new(cmd.Pause):        user,
		new(cmd.PortForward):  user,
		new(cmd.PS):           user,
		new(cmd.Restore):      user,
		new(cmd.Resume):       user,
		new(cmd.Run):          user,
		new(cmd.Spec):         user,
		new(cmd.Start):        user,
		new(cmd.State):        user,
		new(cmd.Update):       user,
		new(cmd.Wait):         user,
		new(cmd.Debug):        "debug",
		new(sentrycmd.Boot):   internal,
		new(cmd.Gofer):        internal,
		new(sentrycmd.Umount): internal,
	}, nil)
}
