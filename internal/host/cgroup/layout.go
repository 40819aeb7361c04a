package cgroup

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// controllers are the version 1 controllers that a group uses, in the order
// in which its folders are made.
var controllers = []string{"memory", "cpu", "cpuacct", "pids"}

// A Layout says where the hierarchies are mounted and where in them groups
// may be made.
type Layout struct {
	// V1 maps a version 1 controller to a folder; controllers that are
	// mounted together share it.
	V1 map[string]string
	// V2 is a folder of the version 2 hierarchy, "" when it isn't mounted.
	V2 string
	// V2Root is the part of the version 2 hierarchy that is mounted, "/" for
	// all of it.
	V2Root string
	// V2Controllers are the controllers that V2 can give to its children.
	V2Controllers []string
}

// Discover reads the layout of the calling process's mount namespace. With
// everything in reach it is the hierarchies' roots; a process that may not
// write there gets the layout all the same and is told when it makes a group.
func Discover() (Layout, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return Layout{}, err
	}
	defer func() { _ = f.Close() }()
	return parseMounts(f)
}

// parseMounts reads mountinfo (proc(5)): after the separator come type,
// source and the superblock's options, which name a version 1 hierarchy's
// controllers. The first mount of a hierarchy counts: the machine's own is
// older than those that programs make further down.
func parseMounts(r io.Reader) (Layout, error) {
	layout := Layout{V1: map[string]string{}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		head, tail, ok := strings.Cut(lines.Text(), " - ")
		fields, last := strings.Fields(head), strings.Fields(tail)
		if !ok || len(fields) < 5 || len(last) < 3 {
			continue
		}
		point := unescape(fields[4])
		switch last[0] {
		case "cgroup":
			for _, c := range controllers {
				if layout.V1[c] == "" && slices.Contains(strings.Split(last[2], ","), c) {
					layout.V1[c] = point
				}
			}
		case "cgroup2":
			if layout.V2 != "" {
				continue
			}
			layout.V2, layout.V2Root = point, unescape(fields[3])
			available, err := readWords(filepath.Join(point, "cgroup.controllers"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return layout, err
			}
			layout.V2Controllers = available
		}
	}
	return layout, lines.Err()
}

// unescape undoes mountinfo's octal escapes of the characters that would
// break its lines.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// v1Folders returns the folders of version 1 hierarchies in which a group
// needs one of its own.
func (l Layout) v1Folders() []string {
	var dirs []string
	for _, c := range controllers {
		if dir := l.V1[c]; dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// folders returns the folders in which a group needs one of its own, the
// version 2 one last.
func (l Layout) folders() []string {
	dirs := l.v1Folders()
	if l.V2 != "" {
		dirs = append(dirs, l.V2)
	}
	return dirs
}

// Missing returns which of the controllers that limit memory, cpu and pids
// neither version offers.
func (l Layout) Missing() []string {
	var missing []string
	for _, c := range []string{"memory", "cpu", "pids"} {
		if l.V1[c] == "" && !slices.Contains(l.V2Controllers, c) {
			missing = append(missing, c)
		}
	}
	return missing
}
