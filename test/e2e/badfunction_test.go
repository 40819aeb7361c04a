package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/control"
)

// TestBadFunctions deploys one misfit after the other beside a function that
// must not notice.
func TestBadFunctions(t *testing.T) {
	p := commonPlatform(t)
	neighbour := p.deploy(t, "neighbour", "concurrency = 4\nmax-instances = 1\nkeepalive = \"10m\"")
	p.want(t, neighbour, "/hello")
	beside := startLoad(p.at(neighbour, "/hello"), 1, 10*time.Millisecond, nil)
	defer beside.stop()
	for name, misfit := range map[string]func(*testing.T, *platform){
		"broken TOML":                   brokenTOML,
		"unknown key":                   unknownKey,
		"missing binary":                missingBinary,
		"not a program":                 notAProgram,
		"wrong architecture":            wrongArchitecture,
		"never listens":                 neverListens,
		"listens late":                  listensLate,
		"exits at once":                 exitsAtOnce,
		"exits between requests":        exitsBetweenRequests,
		"exits in a request":            exitsInARequest,
		"sends half a response":         sendsHalf,
		"sends garbage":                 sendsGarbage,
		"fills its accept backlog":      fillsItsBacklog,
		"never answers":                 neverAnswers,
		"never ends":                    neverEnds,
		"falls silent":                  fallsSilent,
		"writes a gigabyte to stdout":   writesAGigabyte,
		"links to the host from inside": linksToTheHost,
	} {
		t.Run(name, func(t *testing.T) {
			answered, _ := beside.count()
			misfit(t, p)
			if now, _ := beside.count(); now == answered {
				beside.more(t, 1)
			}
		})
	}
	beside.wantNoFailure(t, "the neighbour")
}

// refused deploys a function whose configuration must be refused, with all of
// says in the error.
func refused(t *testing.T, p *platform, name, text string, says ...string) {
	t.Helper()
	p.write(t, name, text)
	t.Cleanup(func() { p.remove(t, name) })
	message := p.awaitError(t, name)
	for _, s := range says {
		if !strings.Contains(message, s) {
			t.Errorf("list says %q, not %q", message, s)
		}
	}
	if d := p.describe(t, name); d.Error != message {
		t.Errorf("describe says %q, list %q", d.Error, message)
	}
	wantProblem(t, p.get(t, name, "/"), 503, name)
	// Put right, it serves.
	p.edit(t, name, toml(t, ""))
	p.awaitFunction(t, name, "to be well", func(f control.Function) bool { return f.Error == "" })
	p.want(t, name, "/hello")
}

func brokenTOML(t *testing.T, p *platform) {
	refused(t, p, "broken-toml", "image = \"file:x\"\nmemory = = 3\n", "function.toml:2:")
}

func unknownKey(t *testing.T, p *platform) {
	refused(t, p, "unknown-key", toml(t, "memroy = 3\n"), "function.toml:2:1", `"memroy"`, `"memory"`)
}

func missingBinary(t *testing.T, p *platform) {
	refused(t, p, "missing", "image = \"file:./server\"\n", "server")
}

func notAProgram(t *testing.T, p *platform) {
	path := filepath.Join(t.TempDir(), "server")
	writeFile(t, path, "this is no program\n")
	refused(t, p, "no-program", fmt.Sprintf("image = %q\n", "file:"+path), path)
}

// wrongArchitecture makes a program for arm64 of one for this machine: the
// two bytes at 18 of an ELF file are the machine (elf(5)).
func wrongArchitecture(t *testing.T, p *platform) {
	data, err := os.ReadFile(binariesOf(t).function)
	if err != nil {
		t.Fatal(err)
	}
	const aarch64, x86 = 183, 62
	if data[18] == aarch64 {
		data[18] = x86
	} else {
		data[18] = aarch64
	}
	path := filepath.Join(t.TempDir(), "server")
	writeFile(t, path, string(data))
	refused(t, p, "wrong-arch", fmt.Sprintf("image = %q\n", "file:"+path), path, "GOARCH")
}

func neverListens(t *testing.T, p *platform) {
	name := p.deploy(t, "never", "start-timeout = \"1s\"\n[env]\nGUEST_MODE = \"never\"")
	wantProblem(t, p.get(t, name, "/"), 504, name, "not ready within 1s")
	d := p.describe(t, name)
	if d.FailedStarts == 0 || d.StartError == nil || !strings.Contains(d.StartError.Error, "port 8080 within 1s (start-timeout)") {
		t.Errorf("describe tells of the start: %d failed, %+v", d.FailedStarts, d.StartError)
	}
	p.awaitInstances(t, name, 0)
}

func listensLate(t *testing.T, p *platform) {
	name := p.deploy(t, "late", "[env]\nGUEST_MODE = \"late\"\nGUEST_DELAY = \"1s\"")
	begin := time.Now()
	p.want(t, name, "/hello")
	if took := time.Since(begin); took < time.Second {
		t.Errorf("answered after %v, before it can have listened", took)
	}
}

func exitsAtOnce(t *testing.T, p *platform) {
	name := p.deploy(t, "exits", "[env]\nGUEST_MODE = \"exit\"\nGUEST_CODE = \"3\"")
	d := wantProblem(t, p.get(t, name, "/"), 502, name, "exit status 3")
	if strings.Contains(d.Detail, "as asked") {
		t.Errorf("the response shows the function's output: %q", d.Detail)
	}
	detail := p.describe(t, name)
	if detail.FailedStarts == 0 || detail.StartError == nil || !strings.Contains(detail.StartError.Output, "exits at once, as asked") {
		t.Errorf("describe: %d failed starts, %+v", detail.FailedStarts, detail.StartError)
	}
	// It is not started again for each request.
	for range 20 {
		if a := p.get(t, name, "/"); a.status != 502 || a.header.Get("Retry-After") == "" {
			t.Errorf("later: %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
		}
	}
	if n := p.describe(t, name).FailedStarts; n > 10 {
		t.Errorf("%d starts for 21 requests in a moment: nothing holds them back", n)
	}
}

func exitsBetweenRequests(t *testing.T, p *platform) {
	name := p.deploy(t, "leaves", "max-instances = 1")
	for i := range 6 {
		// It goes at some moment around the second request, which is
		// idempotent and must not suffer.
		p.want(t, name, fmt.Sprintf("/leave?ms=%d", i))
		p.want(t, name, "/hello")
	}
	eventually(t, "describe to tell of the exits", func() bool {
		for _, x := range p.describe(t, name).Exits {
			if strings.Contains(x.Reason, "exit status 3") {
				return true
			}
		}
		return false
	})
}

func exitsInARequest(t *testing.T, p *platform) {
	name := p.deploy(t, "crashes", "")
	for _, path := range []string{"/exit?code=7", "/crash"} {
		wantProblem(t, p.get(t, name, path), 502, name)
		p.want(t, name, "/hello")
	}
}

func sendsHalf(t *testing.T, p *platform) {
	name := p.deploy(t, "half", "[env]\nGUEST_MODE = \"half\"")
	a, err := fetch(t.Context(), "GET", p.at(name, "/"), nil)
	if err == nil {
		t.Errorf("half a response was passed on as a whole one: %d %q", a.status, a.body)
	}
	if a.body != "half" {
		t.Errorf("the half that came is %q", a.body)
	}
}

func sendsGarbage(t *testing.T, p *platform) {
	name := p.deploy(t, "garbage", "[env]\nGUEST_MODE = \"garbage\"")
	wantProblem(t, p.get(t, name, "/"), 502, name)
}

func fillsItsBacklog(t *testing.T, p *platform) {
	name := p.deploy(t, "deaf", "concurrency = 8\nmax-instances = 1\ntimeout = { first-byte = \"1s\" }\n[env]\nE2E_MODE = \"deaf\"")
	for _, a := range p.together(t, 8, name, "/hello") {
		if a.status != 504 && a.status != 502 {
			t.Errorf("answered with %d %s", a.status, a.body)
			continue
		}
		wantProblem(t, a, a.status, name)
	}
}

func neverAnswers(t *testing.T, p *platform) {
	name := p.deploy(t, "mute", "timeout = { first-byte = \"500ms\" }")
	wantProblem(t, p.get(t, name, "/wait"), 504, name, "500ms")
	p.want(t, name, "/hello")
}

func neverEnds(t *testing.T, p *platform) {
	name := p.deploy(t, "endless", "timeout = { total = \"1s\" }")
	begin := time.Now()
	a, err := fetch(t.Context(), "GET", p.at(name, "/endless?ms=20"), nil)
	if took := time.Since(begin); err == nil || a.status != 200 || took < 900*time.Millisecond || took > patience/2 {
		t.Errorf("status %d, error %v after %v; want the response cut after 1s", a.status, err, took)
	}
	p.want(t, name, "/hello")
}

func fallsSilent(t *testing.T, p *platform) {
	name := p.deploy(t, "silent", "timeout = { idle = \"500ms\" }")
	a, err := fetch(t.Context(), "GET", p.at(name, "/events"), nil)
	if err == nil || a.status != 200 || !strings.HasPrefix(a.body, "data: 0") {
		t.Errorf("status %d %q, error %v; want the response cut", a.status, a.body, err)
	}
	p.want(t, name, "/hello")
}
