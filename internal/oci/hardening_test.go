package oci

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// action returns what the filter does with a call whatever its arguments are.
func action(filter *specs.LinuxSeccomp, name string) specs.LinuxSeccompAction {
	for _, rule := range filter.Syscalls {
		if len(rule.Args) == 0 && slices.Contains(rule.Names, name) {
			return rule.Action
		}
	}
	return filter.DefaultAction
}

func TestSeccomp(t *testing.T) {
	filter, err := Seccomp()
	if err != nil {
		t.Fatal(err)
	}
	if len(filter.Architectures) == 0 {
		t.Error("the filter names no architecture")
	}
	for _, name := range []string{"read", "futex", "execve", "epoll_wait", "accept4"} {
		if got := action(filter, name); got != specs.ActAllow {
			t.Errorf("%s: got %s", name, got)
		}
	}
	for _, name := range []string{"mount", "unshare", "setns", "bpf", "add_key", "keyctl", "kexec_load", "init_module", "open_by_handle_at", "io_uring_setup", "userfaultfd", "perf_event_open", "clone", "socket"} {
		if got := action(filter, name); got != specs.ActErrno {
			t.Errorf("%s: got %s", name, got)
		}
	}
	again, err := Seccomp()
	if err != nil {
		t.Fatal(err)
	}
	if again.Syscalls = nil; len(filter.Syscalls) == 0 || len(again.Architectures) != len(filter.Architectures) {
		t.Error("two calls share one value")
	}
}

func TestPaths(t *testing.T) {
	for _, path := range append(MaskedPaths(), ReadonlyPaths()...) {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.Contains(path, "*") {
			t.Errorf("%q is not a path", path)
		}
	}
	if !slices.Contains(MaskedPaths(), "/proc/kcore") || !slices.Contains(ReadonlyPaths(), "/proc/sys") {
		t.Error("the best known of Docker's paths are missing")
	}
}

func BenchmarkSeccomp(b *testing.B) {
	for b.Loop() {
		if _, err := Seccomp(); err != nil {
			b.Fatal(err)
		}
	}
}
