package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/test/guest/job"
)

func TestReport(t *testing.T) {
	hello, begin, done := job.Event{Kind: job.Hello}, job.Event{Kind: job.Begin, Job: "one"}, job.Event{Kind: job.Done}
	end := job.Event{Kind: job.End, Job: "one", Took: time.Second}
	failed := end
	failed.Failure = "it ended with exit status 1"
	for _, c := range []struct {
		name   string
		events []job.Event
		want   string // in the result; "" for success
	}{
		{"passed", []job.Event{hello, begin, end, done}, ""},
		{"failed", []job.Event{hello, begin, failed, done}, "one failed"},
		{"machine ended in a job", []job.Event{hello, begin}, "one has not ended"},
		{"machine ended before a job", []job.Event{hello}, "one has not ended"},
		{"machine ended after the last job", []job.Event{hello, begin, end}, "too soon"},
		{"init failed", []job.Event{hello, {Kind: job.Broken, Text: "no module"}}, "no module"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReport(&strings.Builder{}, t.TempDir(), []task{{name: "one"}})
			for _, e := range c.events {
				r.handle(e)
			}
			err := r.result()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestReportPrintsWhatTells(t *testing.T) {
	var out strings.Builder
	r := newReport(&out, t.TempDir(), []task{{name: "one"}})
	r.handle(job.Event{Kind: job.Begin, Job: "one"})
	lines := []string{"=== RUN   TestX", "noise", "    --- PASS: TestX/a (0.1s)", "    --- FAIL: TestX/b (0.1s)", "--- FAIL: TestX (0.2s)", "FAIL"}
	for _, line := range lines {
		r.handle(job.Event{Kind: job.Output, Job: "one", Text: line})
	}
	want := "one\n" + "        --- FAIL: TestX/b (0.1s)\n" + "    --- FAIL: TestX (0.2s)\n" + "    FAIL\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	kept, err := os.ReadFile(filepath.Join(r.dir, "one.log"))
	if err != nil || string(kept) != strings.Join(lines, "\n")+"\n" {
		t.Errorf("kept %q, %v", kept, err)
	}
}

func TestReadEvents(t *testing.T) {
	sent := []job.Event{{Kind: job.Output, Job: "one", Text: "a \"line\"\x00"}, {Kind: job.Done}}
	var line strings.Builder
	line.WriteString("firmware says {hello}\r\n{}\r\n")
	for _, e := range sent {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		line.WriteString(string(text) + "\r\n") // as a serial line ends
	}
	var got []job.Event
	if err := read(strings.NewReader(line.String()), func(e job.Event) { got = append(got, e) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("{\"Kind\":\"end\",\"Took\":1}\r\n")
	f.Fuzz(func(t *testing.T, line string) {
		_ = read(strings.NewReader(line), func(e job.Event) {
			if e.Kind == "" {
				t.Error("an event without a kind")
			}
		})
	})
}

func TestNeeds(t *testing.T) {
	for info, want := range map[string][]string{
		"license=GPL\x00depends=ip6_udp_tunnel,udp_tunnel\x00name=geneve\x00": {"ip6_udp_tunnel", "udp_tunnel"},
		"license=GPL\x00depends=\x00":                                         nil,
		"":                                                                    nil,
	} {
		if diff := cmp.Diff(want, needs(info)); diff != "" {
			t.Errorf("needs of %q (-want +got):\n%s", info, diff)
		}
	}
}

func TestChosen(t *testing.T) {
	if picked, unknown := chosen(""); len(picked) != len(tasks) || unknown != nil {
		t.Errorf("by default: %d of %d, %q", len(picked), len(tasks), unknown)
	}
	picked, unknown := chosen("platform,none")
	if len(picked) != 1 || picked[0].name != "platform" || len(unknown) != 1 || unknown[0] != "none" {
		t.Errorf("chosen: %+v, %q", picked, unknown)
	}
}

func TestJobOfATest(t *testing.T) {
	got := task{name: "n", pkg: "internal/p", require: "s", args: []string{"-a"}}.job([]string{"/modules/overlay.ko"}, []string{"/modules/kvm_amd.ko"}, []string{"-b"}, time.Minute)
	want := job.Job{
		Name: "n", Dir: "/tests/internal/p", Args: []string{"/tests/internal/p/test", "-test.v", "-test.timeout=0", "-a", "-b"},
		Modules: []string{"/modules/overlay.ko"}, Drivers: []string{"/modules/kvm_amd.ko"}, Timeout: time.Minute, Env: got.Env,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	if env := strings.Join(got.Env, " "); !strings.Contains(env, "UNIFAAS_REQUIRE=s") {
		t.Errorf("environment %q lets the sandbox be skipped", env)
	}
}
