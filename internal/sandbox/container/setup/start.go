package setup

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// start starts the function as a child. It has this process's privileges,
// which are none, and its standard files alone.
func (w *writer) start() {
	w.Step("fork")
	parent := w.Label()
	// With CLONE_VFORK this process goes on when the function has been
	// executed, or its process has told why not and ended.
	w.CallTo(rFunction, unix.SYS_CLONE, script.Number(unix.CLONE_VFORK|int(unix.SIGCHLD)))
	same := w.Label()
	w.JumpIf(script.Reg(rFunction), number(0), same)
	w.Jump(parent)
	w.Put(same)
	w.Call(unix.SYS_SETSID)
	w.Call(unix.SYS_RT_SIGPROCMASK, script.Number(unix.SIG_SETMASK), w.Words(0).Arg(), number(0), number(8))
	w.Call(unix.SYS_CLOSE_RANGE, number(3), number(1<<32-1), script.Number(unix.CLOSE_RANGE_CLOEXEC))
	w.confine()
	w.execute()
	w.Put(parent)
	w.Step("answer")
	w.Call(unix.SYS_SENDTO, script.Number(script.GateFD), w.Bytes([]byte{script.Done}).Arg(), number(1), script.Number(unix.MSG_NOSIGNAL))
	w.Ignore() // the platform may be gone
	w.Call(unix.SYS_CLOSE, script.Number(script.GateFD))
}

// confine has the kernel put this process under the profile when it executes
// the function. Only a process itself may ask for that, by a file that anybody
// may open: this one's others are out of its own reach (see drop).
func (w *writer) confine() {
	if w.AppArmor == "" {
		return
	}
	w.Step("confine by the AppArmor profile " + w.AppArmor)
	old, open := w.Label(), w.Label()
	w.openForWriting("/proc/self/attr/apparmor/exec")
	w.Catch(uint32(unix.ENOENT), old)
	w.Jump(open)
	w.Put(old)
	w.openForWriting("/proc/self/attr/exec") // before Linux 5.8
	w.Put(open)
	order := "exec " + w.AppArmor
	w.Call(unix.SYS_WRITE, script.Reg(r0), w.String(order).Arg(), script.Number(len(order)))
	w.Call(unix.SYS_CLOSE, script.Reg(r0))
}

func (w *writer) openForWriting(path string) {
	w.CallTo(r0, unix.SYS_OPENAT, number(here), w.String(path).Arg(), script.Number(unix.O_WRONLY|unix.O_CLOEXEC), number(0))
}

// execute executes the program: a name without a slash is looked for in the
// folders of the function's PATH.
func (w *writer) execute() {
	name := w.Argv[0]
	w.Step("execute " + name)
	argv, env := w.Strings(w.Argv), w.Strings(w.Env)
	if strings.Contains(name, "/") {
		w.executeAt(name, argv, env)
		return
	}
	for _, dir := range folders(w.Env) {
		next := w.Label()
		w.Call(unix.SYS_FACCESSAT, number(here), w.String(dir+"/"+name).Arg(), script.Number(unix.X_OK))
		w.Catch(script.CatchAny, next)
		w.executeAt(dir+"/"+name, argv, env)
		w.Put(next)
	}
	w.Step("execute " + name + ": not found in PATH")
	w.Fail(number(0))
}

func (w *writer) executeAt(path string, argv, env script.Addr) {
	at := w.String(path).Arg()
	missing := w.Label()
	w.Call(unix.SYS_EXECVE, at, argv.Arg(), env.Arg())
	w.Catch(uint32(unix.ENOENT), missing)
	w.Put(missing)
	w.Call(unix.SYS_FACCESSAT, number(here), at, script.Number(unix.F_OK))
	w.Step("execute " + w.Argv[0] + ": its interpreter or dynamic loader is not in the image")
	w.Fail(number(0))
	w.Step("execute " + w.Argv[0])
}

// folders returns the folders of env's PATH.
func folders(env []string) []string {
	var all []string
	for _, kv := range env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range strings.Split(list, ":") {
			if strings.HasPrefix(dir, "/") {
				all = append(all, dir)
			}
		}
	}
	return all
}
