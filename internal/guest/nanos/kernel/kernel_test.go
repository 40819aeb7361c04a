package kernel_test

import (
	"debug/elf"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/nanos/kernel"
	"github.com/unifaas/unifaas/internal/guest/nanos/nanostest"
	"github.com/unifaas/unifaas/internal/image/elftest"
)

func TestKernelThatIsNone(t *testing.T) {
	if err := kernel.Check(elftest.File{Machine: elf.EM_X86_64}.Bytes(t)); err == nil || !strings.Contains(err.Error(), "no kernel of Nanos") {
		t.Errorf("a program: %v", err)
	}
	if err := kernel.Check([]byte("NVMTFS")); err == nil {
		t.Error("a text")
	}
}

func FuzzWithoutNotes(f *testing.F) {
	f.Add(nanostest.Kernel(f))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = kernel.WithoutNotes(data) })
}
