package runc

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A mount is one line of the mount table.
type mount struct {
	point string
	kind  string // the type of the file system
}

func mounts() ([]mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return parseMounts(f)
}

// parseMounts reads proc_pid_mountinfo(5): the point is the fifth field, the
// type follows a lone hyphen.
func parseMounts(r io.Reader) ([]mount, error) {
	var all []mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		head, tail, ok := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(head), strings.Fields(tail)
		if ok && len(fields) >= 5 && len(kind) >= 1 {
			all = append(all, mount{unescape.Replace(fields[4]), kind[0]})
		}
	}
	return all, lines.Err()
}

// unescape undoes the octal escapes of the characters that would break a line.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// removeRuntimeGroups removes the groups of container id. A runtime joins
// every hierarchy that there is, also those in which nothing of ours is
// limited; its groups, and their parent with the last of them, are removed
// like the others.
func (d *Driver) removeRuntimeGroups(id string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, removeDir(filepath.Join(dir, parentName(d.host), id), false))
	}
	if d.making.TryLock() { // else who makes one now removes it later
		defer d.making.Unlock()
		for _, dir := range dirs {
			errs = append(errs, removeDir(filepath.Join(dir, parentName(d.host)), true))
		}
	}
	return errors.Join(errs...)
}

// runtimeGroups returns the names of the groups that exist in any hierarchy.
func (d *Driver) runtimeGroups() (map[string]bool, error) {
	dirs, err := hierarchies()
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(dir, parentName(d.host)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				names[e.Name()] = true
			}
		}
	}
	return names, nil
}

// hierarchies returns where hierarchies of version 1 are mounted. In version 2
// there is only one, and in that our own group.
func hierarchies() ([]string, error) {
	all, err := mounts()
	var dirs []string
	for _, m := range all {
		if m.kind == "cgroup" {
			dirs = append(dirs, m.point)
		}
	}
	return dirs, err
}

// removeDir removes an empty folder, or a busy one not if that is allowed.
func removeDir(dir string, mayBeBusy bool) error {
	err := os.Remove(dir)
	if errors.Is(err, fs.ErrNotExist) || mayBeBusy && (errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY)) {
		return nil
	}
	return err
}

// unmountBelow unmounts what is mounted below dir.
func unmountBelow(dir string) error {
	all, err := mounts()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range all {
		if strings.HasPrefix(m.point, dir+"/") {
			errs = append(errs, os.NewSyscallError("umount2", unix.Unmount(m.point, unix.MNT_DETACH)))
		}
	}
	return errors.Join(errs...)
}
