package qemu_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/vmm/qemu"
)

// orphanEnv makes a run of this test's binary a platform that is killed while
// it probes: its value is a file for the number of the QEMU that it has started.
const orphanEnv = "UNIFAAS_QEMU_ORPHAN"

// TestProbedQEMUDiesWithThePlatform kills a platform in the midst of a probe.
func TestProbedQEMUDiesWithThePlatform(t *testing.T) {
	if file := os.Getenv(orphanEnv); file != "" {
		fake := filepath.Join(filepath.Dir(file), "qemu")
		qemu.New(qemu.Microvm, qemu.Options{Path: fake}).Probe(t.Context())
		return
	}
	dir := t.TempDir()
	file, fake := filepath.Join(dir, "pid"), filepath.Join(dir, "qemu")
	// It is executed as QEMU would be, and says nothing.
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%s.new; mv %s.new %s; exec sleep 1000\n", file, file, file)
	if err := os.WriteFile(fake, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	platform := exec.Command(os.Args[0], "-test.run=^TestProbedQEMUDiesWithThePlatform$")
	platform.Env = append(os.Environ(), orphanEnv+"="+file)
	if err := platform.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	within(t, "a QEMU", func() bool {
		text, err := os.ReadFile(file)
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err == nil
	})
	if err := platform.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = platform.Wait() // it was killed
	within(t, "its end", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
