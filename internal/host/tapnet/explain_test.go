package tapnet

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExplain(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user is told to be root")
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&os.PathError{Op: "open", Path: tunDevice, Err: unix.ENOENT}, "modprobe tun"},
		{fmt.Errorf("wrapped: %w", &os.PathError{Op: "open", Path: tunDevice, Err: unix.ENODEV}), "modprobe tun"},
		{&os.PathError{Op: "open", Path: "/proc/sys/net/ipv4/ip_forward", Err: unix.EROFS}, "privileged"},
		{fmt.Errorf("make network namespace: %w", unix.ENOSPC), "max_net_namespaces"},
		{fmt.Errorf("open tap %q: %w", "tap0", unix.EPERM), "CAP_NET_ADMIN"},
		{&os.PathError{Op: "open", Path: "/other", Err: unix.ENOENT}, "no such file or directory"},
	} {
		got := explain(c.err)
		if !strings.HasPrefix(got.Error(), "make a machine's network: ") || !strings.Contains(got.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.err, got, c.want)
		}
		if explain(got) != got {
			t.Errorf("%v is explained twice", got)
		}
	}
}
