package e2e

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// printed is the answer of /printed.
type printed struct {
	Bytes int64 `json:"bytes"`
}

func writesAGigabyte(t *testing.T, p *platform) {
	name := p.deploy(t, "talks", "concurrency = 2\nmax-instances = 1")
	const gigabyte = 1 << 30
	p.want(t, name, fmt.Sprintf("/print?bytes=%d", gigabyte))
	var before int64
	eventually(t, "the output to begin", func() bool {
		before = wantJSON[printed](t, p, name, "/printed").Bytes
		return before > 0
	})
	eventually(t, "a gigabyte to be written", func() bool {
		return wantJSON[printed](t, p, name, "/printed").Bytes == gigabyte
	})
	id := p.instances(t, name)[0].ID
	p.want(t, name, "/say?text=the-last-line")
	eventually(t, "the last line to be in the log", func() bool {
		out, _, _ := p.cli(t, "logs", "-n", "1", name)
		return strings.Contains(out, "the-last-line")
	})
	var kept int64
	files, err := filepath.Glob(filepath.Join(p.state, "logs", name, id+"*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("log files of %s: %v, %v", id, files, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		kept += info.Size()
	}
	if kept > 4<<20 {
		t.Errorf("%d bytes are kept of its output", kept)
	}
}

const secret = "only the host may know this"

// linksToTheHost has a function put symbolic links to a file of the host at
// paths that the platform made, mounts or collects, and wants neither the
// function to read the file nor the platform to follow a link when it cleans
// up.
func linksToTheHost(t *testing.T, p *platform) {
	host := t.TempDir()
	file := filepath.Join(host, "secret")
	writeFile(t, file, secret)
	name := p.deploy(t, "links", "single-use = false\nmax-instances = 1")
	for _, path := range []string{"/tmp/link", "/tmp", "/etc/resolv.conf", "/etc/hosts", "/proc/self/exe", "/dev/null", "/function"} {
		for _, target := range []string{host, file} {
			q := url.Values{"old": {target}, "new": {path}}
			p.want(t, name, "/link?"+q.Encode())
		}
		for _, read := range []string{path, path + "/secret", file} {
			a := p.get(t, name, "/file?path="+url.QueryEscape(read))
			if strings.Contains(a.body, secret) {
				t.Errorf("through %s the function reads the host's file", read)
			}
		}
	}
	p.remove(t, name)
	p.awaitInstances(t, name, 0)
	wantSecretKept(t, file)
}

func wantSecretKept(t *testing.T, file string) {
	t.Helper()
	if got, err := os.ReadFile(file); err != nil || string(got) != secret {
		t.Errorf("the host's file now holds %q, %v", got, err)
	}
}

// TestLinksInAnImageStayInside has links to the host in what becomes a root
// file system.
func TestLinksInAnImageStayInside(t *testing.T) {
	p := commonPlatform(t)
	host := t.TempDir()
	file := filepath.Join(host, "secret")
	writeFile(t, file, secret)
	root := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(root, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(filepath.Join(root, "server"), binariesOf(t).function); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"data/file": file, "data/folder": host, "etc": host} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	name := p.deployText(t, "image-links", fmt.Sprintf(
		"image = %q\ncommand = [\"/server\"]\n[files]\n\"/more\" = %q\n", "dir:"+root, filepath.Join(root, "data")))
	for _, path := range []string{"/data/file", "/data/folder/secret", "/more/file", "/more/folder/secret", "/etc/secret", file} {
		if a := p.get(t, name, "/file?path="+url.QueryEscape(path)); a.status != 500 || strings.Contains(a.body, secret) {
			t.Errorf("%s: %d %q, want it not to be there", path, a.status, a.body)
		}
	}
	left, err := os.ReadDir(host)
	if err != nil || len(left) != 1 {
		t.Errorf("the host's folder now holds %v, %v", left, err)
	}
	wantSecretKept(t, file)
}

// TestSwappedPathsOfOursAreNotFollowed replaces, while the platform is away,
// what it keeps on disk by links to the host: the next start must neither
// write through them nor remove what they lead to.
func TestSwappedPathsOfOursAreNotFollowed(t *testing.T) {
	p := newPlatform(t)
	name := p.deploy(t, "swapped", "keepalive = \"10m\"")
	p.start(t)
	p.want(t, name, "/say?text=hello")
	id := p.instances(t, name)[0].ID
	p.kill(t)
	host := t.TempDir()
	file := filepath.Join(host, "secret")
	writeFile(t, file, secret)
	swapped := []string{
		filepath.Join(p.run, "instances", id, "output"),
		filepath.Join(p.run, "control.sock"),
		filepath.Join(p.state, "logs", name, id+".log"),
	}
	for _, path := range swapped {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(file, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(host, filepath.Join(p.run, "instances", p.status.Node+"-swapped")); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	p.want(t, name, "/say?text=again")
	p.stop(t)
	wantSecretKept(t, file)
	if info, err := os.Lstat(host); err != nil || info.Mode()&fs.ModeDir == 0 {
		t.Errorf("the host's folder: %v, %v", info, err)
	}
}
