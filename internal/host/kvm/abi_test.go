package kvm

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRequests compares the numbers, which hold the structures' sizes, with
// those that Linux's header makes.
func TestRequests(t *testing.T) {
	got := map[string]uintptr{
		"KVM_GET_SUPPORTED_CPUID": getSupportedCPUID, "KVM_SET_USER_MEMORY_REGION": setUserMemoryRegion,
		"KVM_SET_REGS": setRegs, "KVM_GET_SREGS": getSregs, "KVM_SET_SREGS": setSregs, "KVM_SET_CPUID2": setCPUID2,
	}
	want := map[string]uintptr{
		"KVM_GET_SUPPORTED_CPUID": 0xc008ae05, "KVM_SET_USER_MEMORY_REGION": 0x4020ae46,
		"KVM_SET_REGS": 0x4090ae82, "KVM_GET_SREGS": 0x8138ae83, "KVM_SET_SREGS": 0x4138ae84, "KVM_SET_CPUID2": 0x4008ae90,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// page returns a shared page of that reason and data.
func page(reason uint32, data ...byte) runPage {
	p := make(runPage, pageSize)
	binary.LittleEndian.PutUint32(p[exitReasonAt:], reason)
	copy(p[exitDataAt:], data)
	return p
}

func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		page runPage
		want string
	}{
		{page(exitHalt), "exit reason 5 (halt)"},
		{page(77), "exit reason 77 (unexpected)"},
		{page(exitFailEntry, 0x21, 0, 0, 0x80), "exit reason 9 (the processor refuses to enter the guest), hardware's reason 0x80000021"},
		{page(exitInternalError, 9), "exit reason 17 (internal error), suberror 9"},
		{page(exitInternalError, 3, 0, 0, 0, 4), "exit reason 17 (internal error), suberror 3 (an event could not be delivered)"},
		{
			page(exitInternalError, 1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0x0f, 0x0b, 0xff),
			"exit reason 17 (internal error), suberror 1 (an instruction could not be emulated): 0f 0b",
		},
	} {
		if got := c.page.describe(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func FuzzRunPage(f *testing.F) {
	f.Add(uint32(exitInternalError), []byte{1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 15})
	f.Add(uint32(exitIO), []byte{1, 4, tellPort, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, reason uint32, data []byte) {
		p := page(reason, data...)
		if text := p.describe(); !strings.HasPrefix(text, "exit reason ") {
			t.Errorf("got %q", text)
		}
		if _, ok := p.told(tellPort); ok && reason != exitIO {
			t.Errorf("told by reason %d", reason)
		}
	})
}
