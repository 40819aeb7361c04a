package firecracker

import (
	"fmt"
	"strconv"
	"strings"
)

// A version is a release of Firecracker.
type version struct {
	major, minor int
	text         string
}

// What came when, by Firecracker's CHANGELOG.md.
var (
	oldest    = version{1, 4, "1.4"}   // entropy device, cpu-config
	overrides = version{1, 12, "1.12"} // network_overrides of /snapshot/load
	pvh       = version{1, 12, "1.12"} // kernels with a PVH note are booted by it
	pci       = version{1, 13, "1.13"} // --enable-pci
	bzImage   = version{1, 17, "1.17"} // compressed kernels
)

// parseVersion reads "1.16.1" or "1.17.0-dev".
func parseVersion(text string) (version, error) {
	v := version{text: text}
	fields := strings.SplitN(text, ".", 3)
	if len(fields) < 2 {
		return v, fmt.Errorf("%.40q is no version", text)
	}
	var errs [2]error
	v.major, errs[0] = strconv.Atoi(fields[0])
	v.minor, errs[1] = strconv.Atoi(fields[1])
	if errs[0] != nil || errs[1] != nil || v.major < 0 || v.minor < 0 {
		return v, fmt.Errorf("%.40q is no version", text)
	}
	return v, nil
}

// has reports whether v is a release with what came in since.
func (v version) has(since version) bool {
	return v.major > since.major || v.major == since.major && v.minor >= since.minor
}
