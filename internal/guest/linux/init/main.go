// Command init is the first process of a Linux guest: it sets up the machine
// as the kernel's command line and the plan in the initial file system say,
// starts the function, tells the host how it goes (package wire), and turns
// the machine off when the function has ended.
//
// It is embedded in the platform's binary. Guests are often emulated, where
// each of its milliseconds takes ten: it links little, does all of its work in
// one thread but the relay's (relay.go), and asks the kernel directly.
package main

import (
	"encoding/json"
	"os"
	"os/signal"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest/linux/plan"
	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

func main() {
	// The thread's own attributes become the function's. It is never given
	// back.
	runtime.LockOSThread()
	// The kernel spares the first process, but Go's runtime would end it when
	// the function sends it a signal, and with it the machine. What is ignored
	// would be so in the function, too.
	signal.Notify(make(chan os.Signal, 1))
	m := &machine{instance: &plan.Instance{Off: plan.OffPower}, output: -1, reaped: -1}
	m.link.fd = -1
	m.phase(wire.PhaseKernel)
	if err := m.boot(); err != nil {
		m.console(err.Error())
		m.exit = &wire.Exit{Code: -1, Reason: err.Error(), NS: now()}
		m.giveUp = now() + int64(reportTime)
	}
	m.serve()
	m.off()
}

// reportTime bounds how long a machine that could not start its function, for
// which the network may be the reason, tries to say so.
const reportTime = 10 * time.Second

// A machine is the guest.
type machine struct {
	instance *plan.Instance
	plan     plan.Plan
	phases   []wire.Phase
	kernel   string

	function int                  // its process; 0 when it has none
	output   int                  // what the function writes, the reading end; -1 when all is read
	reaped   int                  // an eventfd that is readable once the function has ended
	status   chan unix.WaitStatus // how it did
	sockets  []int                // the kernel's lists of TCP sockets
	random   int                  // the device to which entropy is added
	log      int                  // the kernel's
	group    int                  // the control group of the function; 0 when it has none
	started  int64                // when the function was
	buffer   [32 << 10]byte

	ready    bool
	loopback bool // it listens, but only on a loopback address
	nextLook int64
	giveUp   int64 // when the host is no longer waited for; 0 is never
	exit     *wire.Exit
	link     link
}

// now is the time since the kernel's start.
func now() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it never fails
	return t.Nano()
}

// phase notes that a part of the start has ended.
func (m *machine) phase(name string) {
	m.phases = append(m.phases, wire.Phase{Name: name, NS: now()})
}

// boot does everything up to the function's start.
func (m *machine) boot() error {
	if err := m.mountFirst(); err != nil {
		return err
	}
	if err := m.read(); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	m.phase(wire.PhaseModules)
	m.settle()
	if err := m.network(); err != nil {
		return err
	}
	m.phase(wire.PhaseNetwork)
	m.link.dial(m) // the host answers meanwhile
	if err := m.enterRoot(); err != nil {
		return err
	}
	m.phase(wire.PhaseRoot)
	if err := m.start(); err != nil {
		return err
	}
	m.phase(wire.PhaseStarted)
	m.started = now()
	return nil
}

// read reads what this machine is told.
func (m *machine) read() error {
	var name unix.Utsname
	_ = unix.Uname(&name) // it never fails
	m.kernel = unix.ByteSliceToString(name.Release[:])
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	instance, err := plan.Parse(string(text))
	if err != nil {
		return err
	}
	m.instance = instance
	if text, err = os.ReadFile(plan.File); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &m.plan); err != nil {
		return fail("read "+plan.File, err)
	}
	return nil
}

// settle gives the kernel what it can't know by itself.
func (m *machine) settle() {
	set := wire.Set{Seed: m.instance.Seed}
	if m.instance.Time != 0 {
		// That was when the machine was started.
		set.Time = m.instance.Time + now()
	}
	m.apply(set)
}

func (m *machine) apply(set wire.Set) {
	if set.Time != 0 {
		t := unix.NsecToTimespec(set.Time)
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &t); err != nil {
			m.console("set the clock: " + err.Error())
		}
	}
	if len(set.Seed) > 0 {
		if err := m.addEntropy(set.Seed); err != nil {
			m.console("add entropy: " + err.Error())
		}
	}
}

// console prints a line where the machine's last words are looked for.
func (m *machine) console(text string) {
	m.print([]byte("unifaas: " + text + "\n"))
}

// print writes to the console, which the kernel has opened for this process.
func (m *machine) print(text []byte) {
	_, _ = unix.Write(2, text)
}

// off ends the machine.
func (m *machine) off() {
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if m.instance.Off == plan.OffReset {
		how = unix.LINUX_REBOOT_CMD_RESTART
	}
	err := unix.Reboot(how)
	m.console("turn off: " + fail("reboot", err).Error())
	time.Sleep(time.Second)
	// Where there is no way to power off, the kernel only halts.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// A failure is an error with what was tried, as package fmt would write it.
type failure struct {
	what string
	err  error
}

func fail(what string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{what, err}
}

func (f *failure) Error() string { return f.what + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }
