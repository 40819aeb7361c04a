package script_test

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

func ops(t *testing.T, p *script.Program) []script.Op {
	t.Helper()
	b := p.Memory[p.Start:]
	if len(b)%int(script.OpSize) != 0 {
		t.Fatalf("%d bytes of operations of %d", len(b), script.OpSize)
	}
	return unsafe.Slice((*script.Op)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(script.OpSize))
}

func TestLabels(t *testing.T) {
	var w script.Writer
	end := w.Label()
	begin := w.Here()
	w.JumpIf(script.Reg(1), script.Number(2), end)
	w.Jump(begin)
	w.Put(end)
	w.Call(39)
	w.Ignore()
	w.Fail(script.Number(0))
	p, err := w.Program()
	if err != nil {
		t.Fatal(err)
	}
	all := ops(t, p)
	for i, want := range []uint32{2, 0, 3} {
		if all[i].Target != want {
			t.Errorf("operation %d goes on at %d, want %d", i, all[i].Target, want)
		}
	}
}

func TestLabelNowhere(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a label that was put nowhere is no mistake")
		}
	}()
	var w script.Writer
	w.Jump(w.Label())
	_, _ = w.Program()
}

func TestData(t *testing.T) {
	var w script.Writer
	list := w.Strings([]string{"a", "", "longer than a word"})
	w.Fail(list.Arg())
	p, err := w.Program()
	if err != nil {
		t.Fatal(err)
	}
	at := func(a uint64) []byte { return p.Memory[a-script.Base:] }
	words := unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(at(uint64(list))))), 4)
	for i, want := range []string{"a\x00", "\x00", "longer than a word\x00"} {
		if got := string(at(words[i])[:len(want)]); got != want {
			t.Errorf("string %d: got %q", i, got)
		}
	}
	if words[3] != 0 || uint64(list)%8 != 0 {
		t.Errorf("the list ends with %d and is at %#x", words[3], list)
	}
}

func TestTooLarge(t *testing.T) {
	var w script.Writer
	w.Bytes(make([]byte, script.MaxSize))
	w.Fail(script.Number(0))
	if _, err := w.Program(); !errors.As(err, new(script.SizeError)) {
		t.Errorf("got %v", err)
	}
}
