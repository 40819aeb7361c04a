package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/vmm"
)

// Start implements [vmm.Monitor].
func (m *Monitor) Start(ctx context.Context, c vmm.Config) (vmm.Machine, error) {
	s := starter{monitor: m, config: &c}
	inst, err := s.start(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("start machine %q: %w", c.ID, err)
	}
	return inst, nil
}

// A starter makes one machine.
type starter struct {
	monitor *Monitor
	config  *vmm.Config
	machine *machine
	undo    []func() // of what would be left, in the order in which it was made
}

// start makes the machine and runs it: from the beginning, or of a snapshot.
func (s *starter) start(ctx context.Context, from *kept) (*machine, error) {
	err := s.make(ctx, from)
	if err == nil {
		return s.machine, nil
	}
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	return nil, err
}

func (s *starter) make(ctx context.Context, from *kept) error {
	if err := s.monitor.check(s.config); err != nil {
		return err
	}
	chosen, err := s.monitor.choose(ctx)
	if err != nil {
		return err
	}
	shape := s.monitor.shapeOf(s.config, chosen.accelerator)
	memory := source{}
	if from != nil {
		if err := shape.fits(from.Shape); err != nil {
			return err
		}
		memory = from.source
	}
	line, err := s.monitor.arguments(s.config, chosen.accelerator, memory)
	if err != nil {
		return err
	}
	defer line.close()
	if err := s.run(line, chosen, from); err != nil {
		return err
	}
	s.machine.shape = shape
	shapePath := filepath.Join(s.config.Dir, shapeName)
	s.undo = append(s.undo, func() { os.Remove(shapePath) })
	if err := writeJSON(shapePath, shape); err != nil {
		return err
	}
	if err := s.begin(ctx, from); err != nil {
		return s.explain(ctx, err)
	}
	s.machine.watch()
	return nil
}

// begin steers the new process until the guest runs.
func (s *starter) begin(ctx context.Context, from *kept) error {
	if err := s.machine.connect(ctx, filepath.Join(s.config.Dir, socketName)); err != nil {
		return err
	}
	if from == nil {
		return nil // it runs since before it has greeted
	}
	return s.machine.load(ctx, from)
}

// run starts QEMU.
func (s *starter) run(line *commandLine, chosen choice, from *kept) error {
	path, err := s.monitor.path()
	if err != nil {
		return err
	}
	socket := filepath.Join(s.config.Dir, socketName)
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	defer listener.Close() // QEMU's alone, so that its end is seen by who waits
	s.undo = append(s.undo, func() { os.Remove(socket) })
	said, err := makeWords(filepath.Join(s.config.Dir, wordsName))
	if err != nil {
		return err
	}
	s.undo = append(s.undo, func() { said.close(); os.Remove(said.file.Name()) })
	line.steer(listener)
	if from != nil {
		line.add("-incoming", "defer")
	}
	handle, err := s.spawn(path, line, chosen, said)
	if err != nil {
		return err
	}
	s.machine = newMachine(s.monitor, handle, said)
	s.undo = append(s.undo, func() { s.destroy() })
	return nil
}

// steer has QEMU take commands on a listening socket.
func (l *commandLine) steer(listener *os.File) {
	l.add("-chardev", "socket,id=steer,server=on,wait=off,fd="+strconv.Itoa(l.inherit(listener)))
	l.add("-mon", "chardev=steer,mode=control")
}

// spawn starts the process and takes hold of it. It is nobody's session but
// its own, so that a terminal's signals for the platform do not reach it.
func (s *starter) spawn(path string, line *commandLine, chosen choice, said *words) (*process.Handle, error) {
	cmd := exec.Command(path, line.args...)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = s.config.Console, said.file
	cmd.ExtraFiles = line.files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: credential(s.config, chosen)}
	if err := s.config.Spawn(cmd); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	// Nobody waits for it yet, so that the number is still its own. Its end is
	// collected by way of the handle: os/exec would keep a thread for it.
	handle, err := process.Hold(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("take hold of QEMU: %w", err)
	}
	_ = cmd.Process.Release()
	return handle, nil
}

// credential returns the user of a machine's QEMU, nil for the platform's own.
func credential(c *vmm.Config, chosen choice) *syscall.Credential {
	if os.Geteuid() != 0 || c.UID == 0 {
		return nil
	}
	cred := &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.GID)}
	if chosen.group != 0 {
		cred.Groups = []uint32{uint32(chosen.group)}
	}
	return cred
}

// destroy ends QEMU and waits for it, when nobody watches it.
func (s *starter) destroy() unix.WaitStatus {
	inst := s.machine
	_ = inst.process.Signal(unix.SIGKILL)
	status, _ := inst.process.Wait()
	if inst.conn != nil {
		_ = inst.conn.Close()
	}
	inst.process.Close()
	return status
}

// settle is how long QEMU, which has hung up, has to end by itself.
const settle = 2 * time.Second

// explain returns why a start has failed: in QEMU's words, when it has ended
// over it. What it has said besides goes where its user looks for it.
func (s *starter) explain(ctx context.Context, err error) error {
	var refused *vmm.APIError
	if ctx.Err() != nil || errors.As(err, &refused) {
		return err
	}
	timer := time.AfterFunc(settle, func() { _ = s.machine.process.Signal(unix.SIGKILL) })
	var e end
	e.status, e.known = s.machine.process.Wait()
	if !timer.Stop() {
		return err // it has not ended over it
	}
	e.words = s.machine.words.read()
	fmt.Fprint(s.config.Console, e.words)
	if e.words == "" && e.known && e.status.ExitStatus() == 0 {
		return err
	}
	return fmt.Errorf("%s (%w)", e.exit().Reason, err)
}

// Recover implements [vmm.Monitor].
func (m *Monitor) Recover(ctx context.Context, dir string, id process.Identity) (vmm.Machine, error) {
	handle, err := process.HoldAgain(id)
	if err != nil {
		return nil, fmt.Errorf("recover machine in %s: %w", dir, err)
	}
	inst, err := m.recover(ctx, dir, handle)
	if err == nil {
		return inst, nil
	}
	ended := handle.HasEnded()
	handle.Close()
	if ended {
		err = process.ErrGone
	}
	return nil, fmt.Errorf("recover machine in %s: %w", dir, err)
}

func (m *Monitor) recover(ctx context.Context, dir string, handle *process.Handle) (*machine, error) {
	if handle.HasEnded() {
		return nil, process.ErrGone
	}
	said, err := openWords(filepath.Join(dir, wordsName))
	if err != nil {
		return nil, err
	}
	inst := newMachine(m, handle, said)
	if err = readJSON(filepath.Join(dir, shapeName), &inst.shape); err == nil {
		err = inst.connect(ctx, filepath.Join(dir, socketName))
	}
	if err != nil {
		said.close()
		return nil, err
	}
	inst.watch()
	return inst, nil
}
