package gvisor

import (
	"debug/buildinfo"
	"debug/elf"
	"runtime/debug"
	"slices"
)

const rebuild = "build unifaas with CGO_ENABLED=0 (make build does)"

// linkage tells whether the binary exe can't run as a sandbox because of how
// it was linked: a sandbox executes it where there are no libraries. What
// can't be read is left to the trial.
func linkage(exe string) *hindrance {
	f, err := elf.Open(exe)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return &hindrance{"unifaas is dynamically linked, and there are no libraries inside a sandbox", rebuild}
	}
	return nil
}

// usesCgo tells whether a binary was built with cgo allowed. One that is
// static may run all the same, so that this explains a failure only.
func usesCgo(exe string) bool {
	info, err := buildinfo.ReadFile(exe)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool {
		return s.Key == "CGO_ENABLED" && s.Value == "1"
	})
}
