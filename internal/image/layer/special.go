package layer

import (
	"archive/tar"
	"strings"

	"github.com/unifaas/unifaas/internal/image/tree"
)

// usualDevices are the character devices below /dev that images made from an
// installed system bring along (moby's contrib/mkimage-yum.sh makes console, null, zero and urandom), by
// their numbers in Linux's Documentation/admin-guide/devices.txt. Every
// sandbox has its own, so they are left out. No other device is harmless.
var usualDevices = map[string][2]int64{
	"/dev/null": {1, 3}, "/dev/zero": {1, 5}, "/dev/full": {1, 7}, "/dev/random": {1, 8}, "/dev/urandom": {1, 9},
	"/dev/tty": {5, 0}, "/dev/console": {5, 1}, "/dev/ptmx": {5, 2}, "/dev/tty0": {4, 0},
}

func isUsualDevice(p string, h *tar.Header) bool {
	numbers, ok := usualDevices[p]
	return ok && h.Typeflag == tar.TypeChar && numbers == [2]int64{h.Devmajor, h.Devminor}
}

const (
	// paxXattr begins the PAX records that hold extended attributes, as GNU
	// tar, star and Docker write them.
	paxXattr       = "SCHILY.xattr."
	capabilityName = "security.capability"
	userPrefix     = "user."
	maxXattrs      = 64 << 10 // bytes of one file's attributes
)

// xattrs returns the extended attributes of a file: its capability, and those
// of users. Others are labels of the system that the image was made on
// (security.selinux), or would steer file systems of ours (trusted.overlay):
// they are left out.
func xattrs(h *tar.Header) (capability, others string, err error) {
	user, size := map[string]string{}, 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		switch {
		case ok && name == capabilityName:
			capability = value
		case ok && strings.HasPrefix(name, userPrefix) && len(name) > len(userPrefix) && !strings.ContainsRune(name, 0):
			user[name] = value
		default:
			continue
		}
		if size += len(name) + len(value); size > maxXattrs || len(name) > maxComponent {
			return "", "", invalid("%q has too many or too long extended attributes", h.Name)
		}
	}
	if !validCapability(capability) {
		return "", "", invalid("%q has capabilities in a form that Linux does not know", h.Name)
	}
	return capability, tree.EncodeXattrs(user), nil
}

// validCapability reports whether the kernel would take the value: struct
// vfs_cap_data of linux/capability.h, of revision 2 or, for one user
// namespace, 3. Revision 1 is history.
func validCapability(v string) bool {
	if v == "" {
		return true
	}
	return len(v) == 20 && v[3] == 2 || len(v) == 24 && v[3] == 3
}
