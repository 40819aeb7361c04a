package deploy

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
)

func TestRefusedDeploys(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.platform.folder["theirs"] = "/srv/functions/theirs/function.toml"
	bundle := func(entries ...entry) func(*Request) {
		return func(q *Request) { q.Bundle = bytes.NewReader(archive(t, entries...)) }
	}
	toml := func(text string) func(*Request) {
		return bundle(file("function.toml", text), file("program", "x"))
	}
	memory := int64(0)
	for _, c := range []struct {
		name   string
		change func(*Request)
		want   []string
	}{
		{"no name", func(q *Request) { q.Name = "" }, []string{"no function name", "--name"}},
		{"a name with a slash", func(q *Request) { q.Name = "a/b" }, []string{"no function name"}},
		{"a name that is a path", func(q *Request) { q.Name = ".." }, []string{"no function name"}},
		{"a name that the folder has", func(q *Request) { q.Name = "theirs" }, []string{"/srv/functions/theirs/function.toml", "--name"}},
		{"no function.toml", bundle(file("program", "x")), []string{"has no f/function.toml"}},
		{"a function.toml that is a link", bundle(link("function.toml", "/etc/passwd")), []string{"no regular file"}},
		{"a function.toml that is a folder", bundle(file("function.toml/x", "")), []string{"no regular file"}},
		{"no TOML", toml("image = \n"), []string{"f/function.toml:1:"}},
		{"an unknown key", toml("image = \"file:./program\"\n\nmemry = 3\n"), []string{"f/function.toml:3:1:", "memory"}},
		{"an image above", toml("port = 1\nimage = \"file:../program\"\n"), []string{"f/function.toml:2:", "leads out", "put what"}},
		{"the path of a runtime", toml("image = \"file:./program\"\nruntime = \"/bin/sh\"\n"), []string{"f/function.toml:2:", "is a path", "name a runtime"}},
		{"an absolute image", toml("image = \"oci:/srv/image\"\n"), []string{"f/function.toml:1:", "leads out"}},
		{"files from above", toml("image = \"file:./program\"\n[files]\n\"/a\" = \"./b/../../c\"\n"), []string{"f/function.toml:3:", "leads out"}},
		{"absolute files", toml("image = \"file:./program\"\n[files]\n\"/shadow\" = \"/etc/shadow\"\n"), []string{"f/function.toml:3:", "leads out"}},
		{"a kernel from above", toml("keepalive = 1\nconcurrent-requests = 1\n[vm]\nkernel = \"../k\"\nimage = \"i\"\ncmdline = \"\"\nhypervisor = { type = \"firecracker\" }\n"),
			[]string{"f/function.toml:4:", "leads out"}},
		{"a processor from above", toml("keepalive = 1\nconcurrent-requests = 1\n[vm]\nkernel = \"k\"\nimage = \"i\"\ncmdline = \"\"\nhypervisor = { type = \"firecracker\", cpu-config = \"/etc/shadow\" }\n"),
			[]string{"f/function.toml:7:", "vm.hypervisor.cpu-config", "leads out"}},
		{"a processor that is a link in a root", bundle(file("function.toml", "image = \"dir:./root\"\nsandbox = \"linux\"\n[vm]\nvmm = \"firecracker\"\ncpu-config = \"./root/c\"\n"), link("root/c", "/etc/shadow")),
			[]string{"leads out"}},
		{"a program that is a link out", bundle(file("function.toml", "image = \"file:./program\"\n"), link("program", "/bin/sh")), []string{`"program" leads out`}},
		{"a program below a link out", bundle(file("function.toml", "image = \"file:./bin/sh\"\n"), link("bin", "../../../../../bin")), []string{"leads out"}},
		{"a link out that nothing names", bundle(file("function.toml", "image = \"file:./program\"\n"), file("program", "x"), link("a/b", "../../c")), []string{`"a/b" leads out`}},
		{"a link out by detours", bundle(file("function.toml", "image = \"file:./program\"\n"), file("program", "x"),
			special('5', "d/e/"), link("d/e/here", "."), link("out", "d/e/here/../../..")), []string{`"out" leads out`}},
		{"links in a circle", bundle(file("function.toml", "image = \"file:./program\"\n"), link("program", "program")), []string{"circles"}},
		{"files that are a link in a root", bundle(file("function.toml", "image = \"dir:./root\"\n[files]\n\"/s\" = \"./root/s\"\n"), link("root/s", "/etc/shadow")),
			[]string{"leads out"}},
		{"a flag out of range", func(q *Request) { q.Overrides.Memory = &memory }, []string{"flags: memory = 0 is out of range"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := request(t, "f", "x", "")
			c.change(&q)
			_, err := r.Deploy(t.Context(), q)
			if faas.KindOf(err) != faas.KindInvalid {
				t.Fatalf("%v, want one of kind invalid", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "*", "*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, incomingFolder, "*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestLinksInARootFileSystemAreItsOwn(t *testing.T) {
	r := newRig(t, t.TempDir())
	// The stub of images reads files: a folder it can't. That it was asked
	// shows that the bundle was taken.
	q := request(t, "f", "", "")
	q.Bundle = bytes.NewReader(archive(t, file("function.toml", "image = \"dir:./root\"\n"),
		link("root/bin/sh", "/usr/bin/sh"), link("root/up", "../../../..")))
	if _, err := r.Deploy(t.Context(), q); err == nil || !strings.Contains(err.Error(), "read image") {
		t.Errorf("refused: %v", err)
	}
}
