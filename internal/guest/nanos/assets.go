package nanos

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
	"github.com/unifaas/unifaas/internal/guest/nanos/kernel"
)

// Names of the files of a release of Nanos.
const (
	kernelFile = "kernel.img"
	loaderFile = "boot.img"
)

// Assets are what Nanos needs of the operator.
func Assets() assets.Kind {
	return assets.Kind{
		System:    Name,
		Title:     "Nanos",
		Files:     []assets.File{{Name: kernelFile, Check: kernel.Check}, {Name: loaderFile, Check: disk.CheckLoader}},
		Version:   version,
		Elsewhere: releases,
		Setting:   `[assets] nanos in unifaas.toml, or UNIFAAS_NANOS_DIR,`,
		Remedy:    "get a release of Nanos (kernel.img and boot.img) and name its folder: unifaas assets add nanos DIR",
	}
}

// commit is how the kernel has its own version: the commit that it was built
// from, as text.
var commit = regexp.MustCompile(`(?:^|[^0-9a-f])([0-9a-f]{40})(?:[^0-9a-f]|$)`)

func version(contents [][]byte) string {
	m := commit.FindSubmatch(contents[0])
	if m == nil {
		return ""
	}
	return string(m[1][:12])
}

// releases are the folders in which ops, the tool of Nanos' authors, keeps
// releases: first the one that it uses, as its latest.txt says, then the others,
// the newest first, and what has no number, its nightly builds, last.
func releases() []string {
	home := os.Getenv("OPS_HOME")
	if home == "" {
		var err error
		if home, err = os.UserHomeDir(); err != nil {
			return nil
		}
	}
	home = filepath.Join(home, ".ops")
	entries, err := os.ReadDir(home)
	if err != nil {
		return nil
	}
	latest, _ := os.ReadFile(filepath.Join(home, "latest.txt")) // it need not be there
	var names []string
	for _, e := range entries {
		if holds(filepath.Join(home, e.Name())) {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return slices.Compare(numbers(b), numbers(a)) })
	used := strings.TrimSpace(string(latest))
	if i := slices.Index(names, used); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, used)
	}
	for i, name := range names {
		names[i] = filepath.Join(home, name)
	}
	return names
}

// holds reports whether a folder has the files of a release.
func holds(dir string) bool {
	for _, name := range []string{kernelFile, loaderFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// numbers are those of a version, for instance 0.1.53; none of what is no version.
func numbers(version string) (all []int) {
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}
