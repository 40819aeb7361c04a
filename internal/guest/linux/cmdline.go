package linux

import (
	"strconv"
	"strings"

	"github.com/unifaas/unifaas/internal/guest/linux/plan"
)

// A Machine is what the kernel must be told of the machine that it boots on.
type Machine struct {
	Instance plan.Instance
	// Console says that there is a serial port, and Debug that everything is
	// printed there.
	Console, Debug bool
	// NoPCI says that there is no PCI bus: looking for one takes time.
	NoPCI bool
	// TSCKHz is the speed of the processor's clock where the kernel can't find
	// it out: emulated timers are too coarse to measure it by. 0 lets the
	// kernel.
	TSCKHz int
	// Extra is appended.
	Extra []string
}

// Cmdline returns the kernel's command line (Linux,
// Documentation/admin-guide/kernel-parameters.txt).
func Cmdline(m Machine) string {
	words := []string{
		// A panic ends the machine at once: by a triple fault, which every
		// monitor has.
		"panic=-1", "reboot=t",
		"random.trust_cpu=on", "rdinit=/init",
		// There is no keyboard controller to look for.
		"i8042.noaux", "i8042.nomux", "i8042.nopnp", "i8042.dumbkbd", "i8042.noprobe=1",
		"tsc=reliable", "nowatchdog",
		// One function has all of a guest: there is nobody in it to be kept
		// from it by costly measures against what processors let slip.
		"mitigations=off",
	}
	switch {
	case m.Console && m.Debug:
		words = append(words, "console=ttyS0", "loglevel=8", "initcall_debug")
	case m.Console:
		words = append(words, "console=ttyS0", "quiet")
	default:
		words = append(words, "quiet", "8250.nr_uarts=0")
	}
	if m.NoPCI {
		words = append(words, "pci=off")
	}
	if m.TSCKHz > 0 {
		words = append(words, "tsc_early_khz="+strconv.Itoa(m.TSCKHz))
	}
	words = append(words, m.Instance.Words()...)
	return strings.Join(append(words, m.Extra...), " ")
}
