// Package boot tells one run of the machine from another: process ids and
// control groups that were recorded before a boot mean nothing after it. It
// knows nothing of who records them.
package boot

import (
	"fmt"
	"os"
	"strings"
)

// idFile holds a UUID that the kernel chooses at each boot (random(4)).
const idFile = "/proc/sys/kernel/random/boot_id"

// ID returns what identifies the machine's present boot.
func ID() (string, error) {
	raw, err := os.ReadFile(idFile)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// IsCurrent reports whether id, which was recorded at some time, is of the
// present boot. An id that was not recorded, or can't be compared, is.
func IsCurrent(id string) bool {
	now, err := ID()
	return id == "" || err != nil || id == now
}
