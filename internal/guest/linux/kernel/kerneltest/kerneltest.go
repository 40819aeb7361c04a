// Package kerneltest gives tests a kernel that Linux guests boot: Debian's,
// downloaded once for all tests on a machine.
package kerneltest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// Env names a folder of kernels that are used instead, as unifaas kernel makes
// it: with one of your own, or a small one, which boots faster.
const Env = "UNIFAAS_TEST_KERNELS"

// Dir returns a folder of kernels with one in it at least. A test of the named
// sandbox is skipped where none can be had.
func Dir(t testing.TB, sandbox string) string {
	t.Helper()
	dir := os.Getenv(Env)
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(cache, "unifaas-tests", "kernels")
	}
	store := kernel.NewStore(dir)
	if _, err := store.Default(); err == nil {
		return dir
	}
	begin := time.Now()
	if _, err := store.Install(t.Context()); err != nil {
		sandboxtest.Skip(t, sandbox, sandboxtest.Missing{What: "a kernel", Remedy: "it can't be downloaded: " + err.Error()})
	}
	t.Logf("downloaded a kernel to %s in %v", dir, time.Since(begin))
	return dir
}
