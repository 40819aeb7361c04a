package nanos

import (
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

// callbackVariable is how a function that calls back is told where.
const callbackVariable = "UNIFAAS_CALLBACK"

// interfaceName is what the kernel calls its first network interface.
const interfaceName = "en1"

// A plan is what the kernel is to run.
type plan struct {
	Program     string
	Arguments   []string
	Environment tfs.Tuple
	Dir         string // working folder
	Resets      bool   // the machine is ended by a restart
}

func newPlan(rev *faas.Revision, on guest.Machine) (*plan, error) {
	argv, err := rev.Argv()
	if err != nil {
		return nil, err
	}
	p := &plan{Arguments: argv, Dir: rev.Image.Config.WorkDir, Resets: !on.PowersOff}
	if p.Dir == "" {
		p.Dir = "/"
	}
	environ := rev.Environ()
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		p.Environment = append(p.Environment, tfs.Attribute{Name: name, Value: value})
	}
	if p.Program, err = findProgram(rev.Image.Rootfs, argv[0], p.Dir, environ); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", rev.Function.Ref, err)
	}
	return p, nil
}

// manifest is the plan as the kernel reads it (Nanos, src/unix/exec.c and
// src/kernel/init.c).
func (p *plan) manifest() tfs.Tuple {
	m := tfs.Tuple{
		{Name: "program", Value: p.Program},
		{Name: "arguments", Value: tfs.List(p.Arguments...)},
		{Name: "environment", Value: p.Environment},
		{Name: "readonly_rootfs", Value: "t"},
		{Name: "mounts", Value: tfs.Tuple{{Name: scratchLabel, Value: "/tmp"}}},
	}
	if p.Dir != "/" {
		m = append(m, tfs.Attribute{Name: "cwd", Value: p.Dir})
	}
	if p.Resets {
		m = append(m, tfs.Attribute{Name: "reboot_on_exit", Value: "*"})
	}
	return m
}

// network is an instance's place in its network, in the order in which it is
// written.
func network(i guest.Instance) tfs.Tuple {
	return tfs.Tuple{
		{Name: "ipaddr", Value: i.Guest.String()},
		{Name: "netmask", Value: guest.Netmask(i.Gateway)},
		{Name: "gateway", Value: i.Gateway.Addr().String()},
	}
}

// overlay is what is set on the manifest for one instance.
func (p *plan) overlay(i guest.Instance, callsBack bool) tfs.Tuple {
	t := tfs.Tuple{{Name: interfaceName, Value: network(i)}}
	if callsBack {
		// A tuple is replaced as a whole.
		t = append(t, tfs.Attribute{Name: "environment", Value: append(p.Environment[:len(p.Environment):len(p.Environment)], tfs.Attribute{Name: callbackVariable, Value: i.Callback})})
	}
	return t
}

// cmdline is the same as words for the kernel: a path of names, and a value that
// ends at a blank. None of these values has one.
func cmdline(i guest.Instance, callsBack bool) string {
	var words []string
	for _, a := range network(i) {
		words = append(words, interfaceName+"."+a.Name+"="+a.Value.(string))
	}
	if callsBack {
		words = append(words, "environment."+callbackVariable+"="+i.Callback)
	}
	return strings.Join(words, " ")
}
