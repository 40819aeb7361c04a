package leak

import (
	"bufio"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// addMounts reads the mount table, whose format is that of
// proc_pid_mountinfo(5): field 4 is the root within the file system, 5 the
// mount point, and the source follows " - TYPE".
func addMounts(s *scope, state State) error {
	return eachLine("/proc/self/mountinfo", func(line string) {
		head, tail, _ := strings.Cut(line, " - ")
		fields, source := strings.Fields(head), strings.Fields(tail)
		if len(fields) < 5 || len(source) < 2 {
			return
		}
		root, at := fields[3], fields[4]
		if s.placed(at) || s.placed(root) || s.placed(source[1]) || s.named(line) {
			state.add("mount %s (%s from %s)", at, source[0], source[1])
		}
	})
}

func addCgroups(s *scope, state State) error {
	if len(s.names) == 0 {
		return nil
	}
	return walk("/sys/fs/cgroup", func(path string, d fs.DirEntry) {
		if d.IsDir() && s.named(d.Name()) {
			state.add("cgroup %s", path)
		}
	})
}

// addSockets reads the table of unix sockets: the path, if there is one, is
// the eighth field, and abstract names begin with "@".
func addSockets(s *scope, state State) error {
	return eachLine("/proc/net/unix", func(line string) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			return
		}
		if path := fields[7]; s.placed(path) || s.named(path) {
			state.add("unix socket %s", path)
		}
	})
}

func addNetwork(s *scope, state State) error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		if s.named(i.Name) {
			state.add("network interface %s", i.Name)
		}
	}
	return addNamed(s, state, "network namespace", "/run/netns")
}

// addFiles lists what is below the scope's folders, and what bears one of its
// names in the folders that everybody shares.
func addFiles(s *scope, state State) error {
	for _, dir := range s.dirs {
		err := walk(dir, func(path string, _ fs.DirEntry) { state.add("file %s", path) })
		if err != nil {
			return err
		}
	}
	for _, dir := range s.caches {
		err := walk(dir, func(path string, d fs.DirEntry) {
			if s.named(d.Name()) {
				state.add("file %s", path)
			}
		})
		if err != nil {
			return err
		}
	}
	for _, dir := range []string{"/dev/shm", os.TempDir()} {
		if s.placed(dir) {
			continue
		}
		if err := addNamed(s, state, "file", dir); err != nil {
			return err
		}
	}
	return nil
}

func addNamed(s *scope, state State, what, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !vanished(err) {
		return err
	}
	for _, e := range entries {
		if s.named(e.Name()) {
			state.add("%s %s", what, filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

// walk calls visit for everything below dir, and does not mind what goes away
// meanwhile.
func walk(dir string, visit func(path string, d fs.DirEntry)) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if vanished(err) {
				return nil
			}
			return err
		}
		if path != dir {
			visit(path, d)
		}
		return nil
	})
}

func eachLine(path string, visit func(line string)) error {
	f, err := os.Open(path)
	if err != nil {
		if vanished(err) {
			return nil
		}
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		visit(lines.Text())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
