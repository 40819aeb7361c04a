package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/faas"
)

func TestFileBecomesFlags(t *testing.T) {
	got, err := parse("unifaas.toml", []byte(`
listen = "0.0.0.0:80"
max-body = 12
drain-timeout = "5s"
state-dir = "/x"
[gvisor]
network = "host"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"listen": "0.0.0.0:80", "max-body": "12", "drain-timeout": "5s",
		"state-dir": "/x", "gvisor-network": "host",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"listen = \"x\"\nlisten2 = 1\n", "unifaas.toml:2:1: unknown key \"listen2\""},
		{"max-body = \"many\"\n", "unifaas.toml:1:"},
		{"[gvisor]\nnetwork = \"host\"\nfast = true\n", "unifaas.toml:3:1: unknown key \"gvisor.fast\""},
		{"listen = \n", "unifaas.toml:1:"},
	} {
		_, err := parse("unifaas.toml", []byte(c.text))
		if faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.text, err, c.want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.toml")
	if v, err := Load(path, false); v != nil || err != nil {
		t.Errorf("optional: %v, %v", v, err)
	}
	if _, err := Load(path, true); faas.KindOf(err) != faas.KindInvalid {
		t.Errorf("required: %v", err)
	}
	if err := os.WriteFile(path, []byte("log-level = \"debug\""), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := Load(path, true); err != nil || v["log-level"] != "debug" {
		t.Errorf("present: %v, %v", v, err)
	}
}

func TestValidate(t *testing.T) {
	good := Config{Listen: "127.0.0.1:0"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Config{{Listen: "8123"}, {Listen: ":1", AdminListen: "x"}, {Listen: ":1", MaxBody: -1}} {
		if err := bad.Validate(); faas.KindOf(err) != faas.KindInvalid {
			t.Errorf("%+v accepted: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("listen = \"x\"\n[gvisor]\nnetwork = \"host\"\n"))
	f.Add([]byte("a.b.c = [1, {x = 2}]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		values, err := parse("f", raw)
		if err == nil && values == nil {
			t.Error("neither values nor an error")
		}
	})
}

func TestHostNetworkIsForRoot(t *testing.T) {
	for _, c := range []struct {
		network string
		uid     int
		refused bool
	}{{"netstack", 1000, false}, {"host", 0, false}, {"host", 1000, true}} {
		config := Config{Listen: "127.0.0.1:0", Sandboxes: Sandboxes{GVisor: GVisor{c.network}}}
		if err := config.validate(c.uid); (faas.KindOf(err) == faas.KindInvalid) != c.refused || (err == nil) == c.refused {
			t.Errorf("network %q as uid %d: got %v", c.network, c.uid, err)
		}
	}
}
