package linux

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/unifaas/unifaas/internal/guest/linux/cpio"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/internal/guest/linux/plan"
	"github.com/unifaas/unifaas/internal/oci"
)

// WriteBase writes the part of an initial file system that all functions with
// the same kernel and kind of machine share: the first process, and modules in
// the order in which they are loaded. Linux takes several archives one after
// the other, and so the whole is this and [WriteFunction]'s.
func WriteBase(w io.Writer, modules []kernel.Module) error {
	program, err := InitProgram()
	if err != nil {
		return err
	}
	a := cpio.NewWriter(w)
	a.Program("/init", string(program))
	a.Folder("/unifaas")
	// The kernel opens it as the first process's standard files.
	a.Device("/dev/console", 5, 1)
	// Where there is no console, Go opens this as its standard files before
	// main begins, or ends the process.
	a.Device("/dev/null", 1, 3)
	for i, m := range modules {
		a.File(path.Join(plan.Modules, fmt.Sprintf("%02d-%s.ko", i, m.Name)), m.Path)
	}
	return a.Close()
}

// WriteFunction writes the part of an initial file system that is a function's:
// its plan, and its root unless that is on a disk.
func WriteFunction(w io.Writer, p *plan.Plan, rootfs string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	a := cpio.NewWriter(w)
	a.Text(plan.File, string(text))
	if p.Disk == "" {
		// Unpacked by an ordinary user, the root is whose it should be nowhere.
		a.Tree(plan.Root, rootfs, cpio.Change{Owner0: os.Geteuid() != 0})
		for _, dir := range oci.MountPoints() {
			a.Folder(path.Join(plan.Root, dir))
		}
	}
	return a.Close()
}
