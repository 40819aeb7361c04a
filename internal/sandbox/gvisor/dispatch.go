package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"

	hostprocess "github.com/unifaas/unifaas/internal/host/process"
)

const (
	// sandboxName is argv[0] of a sandbox that the driver starts.
	sandboxName = "unifaas-gvisor"
	// gateFD is where such a process waits for permission to go on.
	gateFD = 3
	// tunnelFD is its end of the tunnel.
	tunnelFD = 4
	// givenFDs is above all that such a process is given, and below where gVisor
	// moves its function's output to, which must be free: 253 to 255.
	givenFDs = 128
)

// Dispatch runs this process as gVisor if it was started as such, and then
// never returns. Call it first of all in main: before flags are parsed, files
// opened or threads made. A test binary that uses the driver calls it first in
// TestMain.
//
// Three names mean gVisor: the driver's own, which boots a sandbox;
// "/proc/self/exe", by which gVisor executes its helpers; and "runsc" or
// "runsc-*", which make the binary a complete runsc, for instance behind a
// symbolic link of that name.
func Dispatch() {
	name := filepath.Base(os.Args[0])
	switch {
	case name == sandboxName:
		hostprocess.CloseInherited(givenFDs)
		passGate()
		if err := raiseLoopback(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		offerTunnel(tunnelFD)
		runSandbox()
	case name == "exe" && len(os.Args) > 1 && os.Args[1] == "umount":
		runSandbox()
	case name == "exe", name == "runsc", strings.HasPrefix(name, "runsc-"):
		runRunsc()
	}
}

func runSandbox() {
	cli.Run(nil, map[util.SubCommand]string{
		new(sentrycmd.Boot):   "",
		new(sentrycmd.Umount): "",
	}, nil)
}

// passGate waits for the byte by which the driver says that it has recorded
// this process. End of file instead means that the platform died before it
// could: then nobody knows of this process, and it must not live.
func passGate() {
	gate := os.NewFile(gateFD, "gate")
	var b [1]byte
	n, _ := gate.Read(b[:])
	if n != 1 {
		os.Exit(1)
	}
	_ = gate.Close()
}
