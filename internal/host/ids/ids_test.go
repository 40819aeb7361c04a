package ids

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// few is a space of ranges as instances have them.
func few(count int) *Allocator {
	return &Allocator{space: Space{First: FirstRange, Size: RangeSize, Count: count}, taken: make([]bool, count)}
}

func TestTake(t *testing.T) {
	const count = 20
	a := few(count)
	a.next = count - 1
	// The second and third are somebody's, by one number each.
	a.leaveOut(strings.NewReader(fmt.Sprintf("broken\nyou:100000:65536\nme:%d:2\n", FirstRange+2*RangeSize-1)))
	var got []uint32
	for range 3 {
		base, err := a.Take()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, (base-FirstRange)/RangeSize)
	}
	if want := []uint32{count - 1, 0, 3}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("taken: got %v, want %v", got, want)
	}
	for range count - 5 {
		if _, err := a.Take(); err != nil {
			t.Fatal(err)
		}
	}
	if base, err := a.Take(); err == nil {
		t.Errorf("all are taken, but %d was given out", base)
	}
	a.Set(FirstRange+9*RangeSize, false)
	if base, err := a.Take(); err != nil || base != FirstRange+9*RangeSize {
		t.Errorf("after one was given back: got %d, %v", base, err)
	}
	for _, strange := range []uint32{0, 1, FirstRange - RangeSize, FirstRange + 1, FirstRange + count*RangeSize, 1<<32 - 1} {
		a.Set(strange, false)
	}
	if _, err := a.Take(); err == nil {
		t.Error("what was never given out came back")
	}
	(*Allocator)(nil).Set(FirstRange, true)
}

func TestLeaveOutAtTheEdges(t *testing.T) {
	for text, want := range map[string]string{
		fmt.Sprintf("a:%d:%d", FirstRange-5, 5):                 "[false false false]",
		fmt.Sprintf("a:%d:%d", FirstRange-5, 6):                 "[true false false]",
		fmt.Sprintf("a:%d:%d", FirstRange, 0):                   "[false false false]",
		fmt.Sprintf("a:%d:%d", FirstRange+RangeSize, RangeSize): "[false true false]",
		fmt.Sprintf("a:%d:%d", FirstRange+3*RangeSize-1, 100):   "[false false true]",
		fmt.Sprintf("a:%d:%d", FirstRange+3*RangeSize, 100):     "[false false false]",
		"a:0:4294967295": "[true true true]",
	} {
		a := few(3)
		a.leaveOut(strings.NewReader(text))
		if got := fmt.Sprint(a.taken); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestMapped(t *testing.T) {
	a := few(Ranges)
	for text, want := range map[string]bool{
		"         0          0 4294967295\n":                     true,
		"0 100000 65536\n":                                       false,
		"0 0 1\n1 1 4294967294\n":                                true,
		fmt.Sprintf("%d 7 %d\n", FirstRange, RangeSize*Ranges):   true,
		fmt.Sprintf("%d 7 %d\n", FirstRange, RangeSize*Ranges-1): false,
		"x y z\n": false, "": false,
	} {
		if got := a.mapped(strings.NewReader(text)); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// TestSpaces keeps the spaces apart, and away from what others use.
func TestSpaces(t *testing.T) {
	ranges, singles := RangeSpace(0), SingleSpace()
	if ranges.First <= 2000200000 || ranges.end() > uint64(singles.First) || singles.end() > 0x7ffe0000 {
		t.Errorf("ranges are %+v, singles %+v", ranges, singles)
	}
	if got := RangeSpace(7 << 16); got.First != 7<<16 || got.Count != Ranges {
		t.Errorf("from elsewhere: got %+v", got)
	}
}

func TestNew(t *testing.T) {
	a := New("node", SingleSpace())
	if a == nil {
		if os.Geteuid() == 0 {
			t.Skip("these numbers don't exist in this user namespace")
		}
		return
	}
	one, err1 := a.Take()
	two, err2 := a.Take()
	if err1 != nil || err2 != nil || one == two || one < FirstSingle || one >= FirstSingle+Singles {
		t.Errorf("got %d, %v and %d, %v", one, err1, two, err2)
	}
	if other, err := New("another node", SingleSpace()).Take(); err != nil || other == one {
		t.Errorf("another node begins with %d, %v, too", other, err)
	}
}

func FuzzSubordinates(f *testing.F) {
	f.Add("me:2000224256:65536\n")
	f.Add("::\n")
	f.Fuzz(func(_ *testing.T, text string) {
		a := few(Ranges)
		a.leaveOut(strings.NewReader(text))
		a.mapped(strings.NewReader(text))
	})
}
