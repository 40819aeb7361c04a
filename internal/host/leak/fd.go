package leak

import (
	"os"
	"regexp"
	"strconv"
)

// number is what tells two sockets or pipes apart in a descriptor's target.
var number = regexp.MustCompile(`\[\d+\]$`)

// addDescriptors counts this process's descriptors by what they point at. The
// numbers of sockets, pipes and namespaces are left out: a server that closed
// one connection and took another has leaked nothing.
func addDescriptors(s *scope, state State) error {
	if !s.fds {
		return nil
	}
	if err := warmPoller(); err != nil {
		return err
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == strconv.Itoa(int(dir.Fd())) {
			continue
		}
		if target, err := os.Readlink("/proc/self/fd/" + name); err == nil {
			state.add("descriptor to %s", number.ReplaceAllString(target, ""))
		}
	}
	return nil
}

// warmPoller makes Go's runtime open its epoll and event descriptors, which it
// does on first use and keeps for ever.
func warmPoller() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	_ = w.Close()
	return r.Close()
}
