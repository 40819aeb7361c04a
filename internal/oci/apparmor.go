package oci

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// dockerProfile is the AppArmor profile that a Docker Engine loads into the
// kernel and gives its containers.
const dockerProfile = "docker-default"

// AppArmorProfile returns the AppArmor profile for functions: Docker's, where
// the kernel has it. It is "" where there is no AppArmor, where no Docker
// Engine has loaded the profile, where this user may not see that, and where
// the platform is confined itself: then functions inherit its confinement.
func AppArmorProfile() string { return appArmorProfile("/") }

// appArmorProfile looks below root, for tests.
func appArmorProfile(root string) string {
	if read(root, "sys/module/apparmor/parameters/enabled") != "Y" {
		return ""
	}
	// Linux 5.8 made folders for each security module; before, there is one.
	own := read(root, "proc/self/attr/apparmor/current")
	if own == "" {
		own = read(root, "proc/self/attr/current")
	}
	if own != "unconfined" {
		return ""
	}
	// A line is a name and, in parentheses, a mode.
	profiles := strings.Split(read(root, "sys/kernel/security/apparmor/profiles"), "\n")
	if !slices.ContainsFunc(profiles, func(line string) bool { return strings.HasPrefix(line, dockerProfile+" (") }) {
		return ""
	}
	return dockerProfile
}

// read returns a small file of the kernel's, "" where there is none.
func read(root, name string) string {
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(text), "\n\x00")
}
