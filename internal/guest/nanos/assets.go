package nanos

import (
	"os"
	"path/filepath"
	"regexp"
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
// releases: the one that it uses, as its latest.txt says.
func releases() []string {
	home := os.Getenv("OPS_HOME")
	if home == "" {
		var err error
		if home, err = os.UserHomeDir(); err != nil {
			return nil
		}
	}
	home = filepath.Join(home, ".ops")
	latest, err := os.ReadFile(filepath.Join(home, "latest.txt"))
	name := strings.TrimSpace(string(latest))
	if err != nil || name == "" || name != filepath.Base(name) {
		return nil
	}
	return []string{filepath.Join(home, name)}
}
