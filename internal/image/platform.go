package image

import (
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// A platform is what this machine runs, by the names that images use: those
// of Go (OCI image-spec, image-index.md).
type platform struct {
	arch     string
	variants []string // of the processor that it runs, the best first; "" is any
}

// thisPlatform returns the platform of this machine. machine is what uname(2)
// calls the hardware.
func thisPlatform(arch, machine string) platform {
	p := platform{arch: arch, variants: []string{""}}
	switch {
	case arch == "amd64":
		p.variants = []string{"", "v1"} // what needs more is not for every machine
	case arch == "arm64":
		p.variants = []string{"v8", ""}
	case arch == "arm" && strings.HasPrefix(machine, "armv6"):
		p.variants = []string{"v6", "v5", ""}
	case arch == "arm" && strings.HasPrefix(machine, "armv5"):
		p.variants = []string{"v5", ""}
	case arch == "arm":
		p.variants = []string{"v7", "v6", "v5", ""}
	}
	return p
}

func hostPlatform() platform {
	var u unix.Utsname
	machine := ""
	if unix.Uname(&u) == nil {
		machine = unix.ByteSliceToString(u.Machine[:])
	}
	return thisPlatform(runtime.GOARCH, machine)
}

func (p platform) String() string { return "linux/" + p.arch }

// rank returns how well an image suits, 0 for best, -1 for not at all.
func (p platform) rank(os, arch, variant string) int {
	if os != "linux" || arch != p.arch {
		return -1
	}
	return slices.Index(p.variants, variant)
}

// choose returns the manifest of an index that suits best, or nil.
func (p platform) choose(manifests []v1.Descriptor) *v1.Descriptor {
	var best *v1.Descriptor
	at := len(p.variants)
	for i := range manifests {
		m := &manifests[i]
		if m.Platform == nil {
			continue
		}
		if r := p.rank(m.Platform.OS, m.Platform.Architecture, m.Platform.Variant); r >= 0 && r < at {
			best, at = m, r
		}
	}
	return best
}

// describe lists the platforms of an index for people.
func describe(manifests []v1.Descriptor) string {
	var names []string
	for _, m := range manifests {
		if m.Platform == nil || m.Platform.OS == "unknown" { // attestations have that
			continue
		}
		name := platformName(m.Platform.OS, m.Platform.Architecture, m.Platform.Variant)
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

func platformName(os, arch, variant string) string {
	return strings.TrimSuffix(os+"/"+arch+"/"+variant, "/")
}
