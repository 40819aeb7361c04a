package oci

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestAppArmorProfile(t *testing.T) {
	with := func(changes map[string]string) map[string]string {
		files := map[string]string{
			"sys/module/apparmor/parameters/enabled":   "Y\n",
			"proc/self/attr/apparmor/current":          "unconfined\n",
			"sys/kernel/security/apparmor/profiles":    "man_groff (enforce)\ndocker-default (enforce)\nlsb_release (enforce)\n",
			"proc/self/attr/current":                   "other\n",
			"sys/kernel/security/apparmor/.irrelevant": "",
		}
		maps.Copy(files, changes)
		return files
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"loaded":            {with(nil), "docker-default"},
		"another's file":    {with(map[string]string{"proc/self/attr/apparmor/current": "", "proc/self/attr/current": "unconfined\n"}), "docker-default"},
		"off":               {with(map[string]string{"sys/module/apparmor/parameters/enabled": "N\n"}), ""},
		"not loaded":        {with(map[string]string{"sys/kernel/security/apparmor/profiles": "docker-default-2 (enforce)\n"}), ""},
		"platform confined": {with(map[string]string{"proc/self/attr/apparmor/current": "docker-default (enforce)\n"}), ""},
		"no AppArmor":       {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range c.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := appArmorProfile(root); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
