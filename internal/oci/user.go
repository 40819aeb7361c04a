package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// lookupUser resolves an image's user, "user[:group]" with names or numbers
// (OCI image-spec, config.md), against the passwd and group files below
// rootfs. "" is user 0.
func lookupUser(rootfs, user string) (specs.User, error) {
	if user == "" {
		return specs.User{}, nil
	}
	name, group, hasGroup := strings.Cut(user, ":")
	out := specs.User{}
	// passwd: name, password, uid, gid, ... (passwd(5))
	row, err := findRow(rootfs, "etc/passwd", name, 2)
	if err != nil {
		return out, err
	}
	uid, numeric := parseID(name)
	switch {
	case row != nil:
		if out.UID, numeric = parseID(row[2]); !numeric {
			return out, fmt.Errorf("user %q: the image's /etc/passwd has no number for it", name)
		}
		if len(row) > 3 {
			out.GID, _ = parseID(row[3])
		}
	case numeric:
		out.UID = uid
	default:
		return out, fmt.Errorf("user %q is not in the image's /etc/passwd; use a number", name)
	}
	if !hasGroup || group == "" {
		return out, nil
	}
	out.GID, err = lookupGroup(rootfs, group)
	return out, err
}

func lookupGroup(rootfs, group string) (uint32, error) {
	if gid, ok := parseID(group); ok {
		return gid, nil
	}
	// group: name, password, gid, ... (group(5))
	row, err := findRow(rootfs, "etc/group", group, -1)
	if err != nil {
		return 0, err
	}
	if len(row) > 2 {
		if gid, ok := parseID(row[2]); ok {
			return gid, nil
		}
	}
	return 0, fmt.Errorf("group %q is not in the image's /etc/group; use a number", group)
}

// findRow returns the row of a colon-separated file below rootfs whose first
// field is key, or whose field idField is, or nil. A missing file is empty.
func findRow(rootfs, file, key string, idField int) ([]string, error) {
	if rootfs == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	// Not blocking: the image's author may have put a FIFO there.
	f, err := root.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("the image's /%s is not a regular file", file))
	}
	return scanRows(f, key, idField)
}

func scanRows(r io.Reader, key string, idField int) ([]string, error) {
	lines := bufio.NewScanner(io.LimitReader(r, 1<<20))
	var byID []string
	for lines.Scan() {
		row := strings.Split(lines.Text(), ":")
		if len(row) < 3 {
			continue
		}
		if row[0] == key {
			return row, nil
		}
		if byID == nil && idField >= 0 && row[idField] == key {
			byID = row
		}
	}
	return byID, lines.Err()
}

func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}
