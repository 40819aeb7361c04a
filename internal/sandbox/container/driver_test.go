package container_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/container"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// launcher is the launcher of this very source: that in embedded/ may be older.
var launcher []byte

func TestMain(m *testing.M) {
	var err error
	if launcher, err = buildLauncher(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	container.LauncherProgram = launcher
	os.Exit(m.Run())
}

func buildLauncher() ([]byte, error) {
	// A binary that runs itself as another user hands it over ready made.
	if path := os.Getenv("CONTAINER_TEST_LAUNCHER"); path != "" {
		return os.ReadFile(path)
	}
	dir, err := os.MkdirTemp("", "launcher")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "launcher")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./launcher")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the launcher: %w\n%s", err, out)
	}
	return os.ReadFile(path)
}

// withoutCgroups are the promises that only cgroups keep.
func withoutCgroups() map[sandboxtest.Promise]string {
	if os.Geteuid() == 0 {
		return nil
	}
	lacks := map[sandboxtest.Promise]string{}
	for _, p := range []sandboxtest.Promise{sandboxtest.MemoryLimit, sandboxtest.PidsLimit, sandboxtest.CPULimit} {
		lacks[p] = "an ordinary user has no cgroup"
	}
	return lacks
}

func TestConformance(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(_ testing.TB, host sandbox.Host) sandbox.Driver {
			return container.New(host, container.Options{Launcher: launcher})
		},
		Lacks: withoutCgroups(),
		Guest: os.Getenv("CONTAINER_TEST_GUEST"),
	})
}
