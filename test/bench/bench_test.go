package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"go.uber.org/goleak"

	"github.com/unifaas/unifaas/test/bench/load"
	"github.com/unifaas/unifaas/test/bench/measure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-only", "warm, cold", "-quick"}, io.Discard)
	if err != nil || !slices.Equal(o.only, []string{"warm", "cold"}) || !o.quick || o.check {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"-only", "wram"}, {"warm"}, {"-fast"}} {
		if _, err := parseOptions(args, io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

func TestInterleaveTurnsTheOrder(t *testing.T) {
	var order string
	fixed := func(name string, value float64) contender {
		return contender{name, func(context.Context, int) (float64, error) { order += name; return value, nil }}
	}
	samples, err := interleave(t.Context(), 3, []contender{fixed("a", 1), fixed("b", 2), fixed("c", 3)})
	if err != nil {
		t.Fatal(err)
	}
	if order != "abcbcacab" {
		t.Errorf("order was %s", order)
	}
	if !slices.Equal(samples["b"], measure.Sample{2, 2, 2}) {
		t.Errorf("samples are %v", samples)
	}
}

func TestInterleaveKeepsWhatItHas(t *testing.T) {
	broken := errors.New("broken")
	samples, err := interleave(t.Context(), 3, []contender{
		{"a", func(_ context.Context, round int) (float64, error) {
			if round == 1 {
				return 0, broken
			}
			return 7, nil
		}},
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "round 2") || !slices.Equal(samples["a"], measure.Sample{7}) {
		t.Errorf("%v, %v", samples, err)
	}
}

func TestParseStatus(t *testing.T) {
	f, err := parseStatus("Name:\tunifaas\nVmPeak:\t  9 kB\nVmRSS:\t   65536 kB\nRssAnon:\t   12800 kB\nThreads:\t9\n")
	if err != nil || f.rss != 64 || f.anon != 12.5 {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\n", "VmRSS:\tmuch\nRssAnon:\t1 kB\n"} {
		if _, err := parseStatus(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := parseStatus(string(own)); err != nil || f.rss < 1 || f.anon <= 0 || f.anon > f.rss {
		t.Errorf("of this process: %+v, %v", f, err)
	}
}

func TestFunctionsAreTOML(t *testing.T) {
	for _, f := range []function{
		coldFunction(),
		{sandbox: "auto", port: 4711, concurrency: 64, instances: 1, cpus: 2},
	} {
		var read struct {
			Port      int  `toml:"port"`
			SingleUse bool `toml:"single-use"`
			Min       int  `toml:"min-instances"`
			Env       map[string]string
		}
		if err := toml.Unmarshal([]byte(f.toml(`/a "b"/c`)), &read); err != nil {
			t.Fatalf("%v in\n%s", err, f.toml("/a"))
		}
		if read.Port != f.port || read.SingleUse != f.singleUse || read.Min != f.instances || (f.port != functionPort) != (read.Env["PORT"] == "4711") {
			t.Errorf("%+v became %+v", f, read)
		}
	}
}

func TestSoakRow(t *testing.T) {
	series := func(rise float64) measure.Sample {
		s := make(measure.Sample, 300)
		for i := range s {
			s[i] = 40 + float64(i%7)/10 // a collector's saw
			if i >= 150 {
				s[i] += rise * float64(i-150) / 150
			}
		}
		return s
	}
	good := load.Result{Due: 5000 * 300, Answered: 5000 * 300, Elapsed: 300 * time.Second}
	slow := load.Result{Due: 5000 * 300, Answered: 3000 * 300, Elapsed: 300 * time.Second}
	for _, c := range []struct {
		name   string
		rise   float64
		result load.Result
		rate   int
		missed bool
	}{
		{"flat", 0, good, 5000, false},
		{"a leak", 8, good, 5000, true},
		{"flat, but not at the rate", 0, slow, 5000, true},
		{"flat, at less than the machine can do", 0, slow, 3000, false},
	} {
		if row := soakRow("soak", series(c.rise), c.result, c.rate, 5000); row.Missed() != c.missed {
			t.Errorf("%s: missed is %v: %+v", c.name, row.Missed(), row)
		}
	}
}

func TestFilesAreWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "bench.json")
	facts := newHost(t.Context(), &bench{unifaas: "/nonexistent"})
	facts.finish()
	if err := write(path, []measure.Row{measure.Limit("a", "MiB", measure.Sample{1}, 2)}, facts); err != nil {
		t.Fatal(err)
	}
	var rows []measure.Row
	var host map[string]any
	for name, into := range map[string]any{path: &rows, strings.TrimSuffix(path, ".json") + "-host.json": &host} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(rows) != 1 || rows[0].Name != "a" {
		t.Errorf("rows are %+v", rows)
	}
	if host["cores"] == 0.0 || host["kernel"] == "" || host["cgroup"] == "" {
		t.Errorf("host is %v", host)
	}
}
