package layer_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/imagetest"
	"github.com/unifaas/unifaas/internal/image/layer"
)

func TestLimits(t *testing.T) {
	sparse := imagetest.Sparse(1 << 40)
	many := imagetest.Tar(t, nil, file("a"), file("b"), file("c"))
	large := imagetest.Tar(t, map[string]string{"f": strings.Repeat("x", 5000)}, file("f"))
	for name, test := range map[string]struct {
		archive []byte
		limits  layer.Limits
		want    string
	}{
		"1 TB sparse file":       {sparse, layer.Limits{}, "the limit of one file"},
		"sparse within the file": {sparse, layer.Limits{File: 1 << 41, Bytes: 1 << 42}, "no program is like that"},
		"10 GB from 10 KB":       {imagetest.Sparse(10e9), layer.Limits{File: 16 << 30}, "no program is like that"},
		"all":                    {sparse, layer.Limits{File: 1 << 41, Slack: 1 << 41}, "the image unpacks to more"},
		"entries":                {many, layer.Limits{Entries: 2}, "more than 2 files"},
		"names":                  {many, layer.Limits{Names: 3}, "names of the image's files"},
		"file":                   {large, layer.Limits{File: 4999}, "the limit of one file"},
	} {
		_, _, err := unpack(test.archive, test.limits)
		if faas.KindOf(err) != faas.KindInvalid || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if errors.Is(err, layer.ErrDamaged) {
			t.Errorf("%s counts as damaged", name)
		}
	}
	if _, _, err := unpack(large, layer.Limits{File: 5000, Bytes: 5000, Entries: 1, Names: 2}); err != nil {
		t.Error("just within the limits:", err)
	}
}

func TestCompression(t *testing.T) {
	archive := imagetest.Tar(t, map[string]string{"f": strings.Repeat("text", 1<<18)}, file("f"))
	for name, packed := range map[string][]byte{
		"gzip": imagetest.Gzip(t, archive).Packed, "zstd": imagetest.Zstd(t, archive).Packed, "none": archive,
		"chunked zstd": append([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}, imagetest.Zstd(t, archive).Packed...),
	} {
		r, err := layer.Decompress(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(name, err)
		}
		ahead := layer.Ahead(r)
		got, err := io.ReadAll(ahead)
		if err != nil || !bytes.Equal(got, archive) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if err := errors.Join(ahead.Close(), r.Close()); err != nil {
			t.Error(err)
		}
		half, err := layer.Decompress(bytes.NewReader(packed[:len(packed)/2]))
		if err != nil {
			t.Fatal(name, err)
		}
		ahead = layer.Ahead(half)
		_, err = layer.Unpack(background, ahead, memory{}, layer.Options{Budget: layer.NewBudget(layer.Limits{}), Packed: func() int64 { return 1 << 30 }})
		if faas.KindOf(err) != faas.KindInvalid || !errors.Is(err, layer.ErrDamaged) || !strings.Contains(err.Error(), "truncated") {
			t.Errorf("half of %s: %v", name, err)
		}
		if err := ahead.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Ahead's reader may be closed at any time.
func TestAheadClosedEarly(t *testing.T) {
	a := layer.Ahead(io.LimitReader(zeros{}, 1<<30))
	if _, err := io.ReadFull(a, make([]byte, 300<<10)); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
