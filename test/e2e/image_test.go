package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/unifaas/unifaas/internal/control"
)

// images runs `unifaas image list`, and returns what it shows of references,
// by them.
func (p *platform) images(t *testing.T) map[string]control.Image {
	t.Helper()
	byName := map[string]control.Image{}
	for _, i := range cliJSON[[]control.Image](t, p, "image", "list") {
		if i.Source != "" {
			byName[i.Source] = i
		}
	}
	return byName
}

func digestOf(t *testing.T, img v1.Image) string {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// TestImageCommands pulls, lists and prunes beside a running platform. A
// function of the folder follows its tag after a pull, and not before.
func TestImageCommands(t *testing.T) {
	server := newRegistry(t)
	one, two := programImage(t, "one"), programImage(t, "two")
	reference := server.push(t, "team/followed:stable", one)
	p := newPlatform(t)
	p.start(t)
	name := p.deployText(t, "follows", fmt.Sprintf("image = %q\nkeepalive = \"10m\"\n", reference))
	if got := p.want(t, name, "/version"); got != "one" {
		t.Fatalf("version %q answers", got)
	}
	first := p.describe(t, name).Revision

	server.push(t, "team/followed:stable", two)
	// Nothing that a user does for another reason makes it follow: neither a
	// change of its file, nor a restart.
	p.edit(t, name, fmt.Sprintf("image = %q\nkeepalive = \"11m\"\n", reference))
	p.awaitFunction(t, name, "to be read again", func(f control.Function) bool { return f.Revision != first })
	if got := p.want(t, name, "/version"); got != "one" {
		t.Errorf("before the pull version %q answers", got)
	}
	p.stop(t)
	p.start(t)
	if got := p.want(t, name, "/version"); got != "one" {
		t.Errorf("before the pull, after a restart, version %q answers", got)
	}
	if i := p.images(t)[reference]; i.Digest != digestOf(t, one) || !slices.Equal(i.Functions, []string{name}) {
		t.Errorf("list shows %+v", i)
	}

	pulled := cliJSON[control.Image](t, p, "image", "pull", reference)
	if pulled.Source != reference || pulled.Digest != digestOf(t, two) || pulled.Size < 1<<20 {
		t.Errorf("pulled %+v", pulled)
	}
	eventually(t, "the function to follow", func() bool { return p.want(t, name, "/version") == "two" })
	out, errs, code := p.cli(t, "image", "list")
	if code != 0 || !strings.Contains(out, reference) || !strings.Contains(out, name) {
		t.Errorf("list ended with %d and prints\n%s%s", code, out, errs)
	}

	// A prune leaves what functions use, and with --all only that.
	other := server.push(t, "team/unused:stable", programImage(t, "unused"))
	if out, errs, code := p.cli(t, "image", "pull", other); code != 0 || !strings.Contains(out, other+" is sha256:") {
		t.Errorf("pull ended with %d and prints\n%s%s", code, out, errs)
	}
	for _, c := range []struct {
		args []string
		left []string
	}{
		{[]string{"image", "prune"}, []string{reference, other}},
		{[]string{"image", "prune", "--all"}, []string{reference}},
	} {
		eventually(t, "instances of the older image to be gone", func() bool { return len(p.instances(t, name)) == 1 })
		pruned := cliJSON[control.PrunedImages](t, p, c.args...)
		left := p.images(t)
		if len(left) != len(c.left) {
			t.Errorf("%q leaves %v, want %v; it removed %+v", c.args, left, c.left, pruned)
		}
		for _, want := range c.left {
			if left[want].Digest == "" {
				t.Errorf("%q has removed %s", c.args, want)
			}
		}
		if got := p.want(t, name, "/version"); got != "two" {
			t.Errorf("after %q version %q answers", c.args, got)
		}
	}
	// Also one that has to be started, from what is left.
	p.stop(t)
	server.Close()
	p.start(t)
	if got := p.want(t, name, "/version"); got != "two" {
		t.Errorf("after a prune and a restart, without the registry, version %q answers", got)
	}
	if _, errs, code := p.cli(t, "image", "pull", reference); code == 0 || !strings.Contains(errs, reference) {
		t.Errorf("a pull without the registry ended with %d: %s", code, errs)
	}
	if got := p.want(t, name, "/version"); got != "two" {
		t.Errorf("after a pull that failed version %q answers", got)
	}
	p.stop(t)
}

// TestImageCommandsWithoutAPlatform has the command itself work on the store.
func TestImageCommandsWithoutAPlatform(t *testing.T) {
	server := newRegistry(t)
	img := programImage(t, "early")
	reference := server.push(t, "team/early:stable", img)
	other := server.push(t, "team/other:stable", programImage(t, "other"))
	p := newPlatform(t)
	if left := p.images(t); len(left) != 0 {
		t.Errorf("a store that was never used has %v", left)
	}
	for _, r := range []string{reference, other} {
		if pulled := cliJSON[control.Image](t, p, "image", "pull", r); pulled.Source != r {
			t.Errorf("pulled %+v", pulled)
		}
	}
	if list := p.images(t); len(list) != 2 || list[reference].Digest != digestOf(t, img) {
		t.Errorf("list shows %v", list)
	}
	// What was pulled by hand stays, until all is to go.
	cliJSON[control.PrunedImages](t, p, "image", "prune")
	if list := p.images(t); len(list) != 2 {
		t.Errorf("after a prune list shows %v", list)
	}
	// A platform takes what is there, even if the tag has moved and the
	// registry has gone.
	server.push(t, "team/early:stable", programImage(t, "late"))
	server.Close()
	name := p.deployText(t, "early", fmt.Sprintf("image = %q\n", reference))
	p.start(t)
	if got := p.want(t, name, "/version"); got != "early" {
		t.Errorf("version %q answers", got)
	}
	// While instances of a platform that is gone may use it, nothing goes.
	p.kill(t)
	if _, errs, code := p.cli(t, "image", "prune", "--all"); code == 0 || !strings.Contains(errs, "unifaas up") {
		t.Errorf("a prune beside instances ended with %d: %s", code, errs)
	}
	p.start(t)
	p.stop(t)
	pruned := cliJSON[control.PrunedImages](t, p, "image", "prune", "--all")
	slices.Sort(pruned.References)
	if want := []string{reference, other}; !slices.Equal(pruned.References, want) || pruned.Bytes < 1<<20 {
		t.Errorf("pruned %+v, want %v", pruned, want)
	}
	if list := p.images(t); len(list) != 0 {
		t.Errorf("after all was pruned list shows %v", list)
	}
	if left, err := os.ReadDir(filepath.Join(p.state, "store", "trees")); err != nil || len(left) != 0 {
		t.Errorf("in the store are %v, %v", left, err)
	}
}

// TestImageWithoutEntrypoint is an image that says nothing of what to run, and
// a function that does not either.
func TestImageWithoutEntrypoint(t *testing.T) {
	server := newRegistry(t)
	good := programImage(t, "good")
	config, err := good.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Config.Entrypoint = nil
	silent, err := mutate.ConfigFile(good, config)
	if err != nil {
		t.Fatal(err)
	}
	reference := server.push(t, "team/silent:stable", silent)
	p := commonPlatform(t)

	t.Run("of the folder", func(t *testing.T) {
		p.write(t, "silent", fmt.Sprintf("image = %q\n", reference))
		t.Cleanup(func() { p.remove(t, "silent") })
		message := p.awaitError(t, "silent")
		for _, want := range []string{"entrypoint", "command"} {
			if !strings.Contains(message, want) {
				t.Errorf("list says %q, not %q", message, want)
			}
		}
		wantProblem(t, p.get(t, "silent", "/"), 503, "silent")
		p.edit(t, "silent", fmt.Sprintf("image = %q\ncommand = [\"/program\"]\n", reference))
		p.awaitFunction(t, "silent", "to be well", func(f control.Function) bool { return f.Error == "" })
		if got := p.want(t, "silent", "/version"); got != "good" {
			t.Errorf("version %q answers", got)
		}
	})
	t.Run("deployed", func(t *testing.T) {
		_, errs, code := p.cli(t, "deploy", reference, "--name", "silent-sent")
		if code != 2 || !strings.Contains(errs, "entrypoint") || !strings.Contains(errs, "command") {
			t.Errorf("deploy ended with %d: %s", code, errs)
		}
		if a := p.get(t, "silent-sent", "/"); a.status != 404 {
			t.Errorf("the function that was not deployed answers %d %s", a.status, a.body)
		}
		p.send(t, reference, "--name", "silent-sent", "--command", "/program")
		p.undeploy(t, "silent-sent")
		if got := p.want(t, "silent-sent", "/version"); got != "good" {
			t.Errorf("version %q answers", got)
		}
	})
	// The store is sound: another image of the same layer is served.
	p.send(t, server.push(t, "team/good:stable", good), "--name", "not-silent")
	p.undeploy(t, "not-silent")
	if got := p.want(t, "not-silent", "/version"); got != "good" {
		t.Errorf("version %q answers", got)
	}
}
