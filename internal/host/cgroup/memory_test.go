package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree makes a hierarchy of files: group -> file -> text. Each group gets the
// file by which one is known.
func tree(t *testing.T, groups map[string]map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "cgroup")
	for group, files := range groups {
		dir := filepath.Join(root, group)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		fill(t, dir, map[string]string{"cgroup.procs": ""})
		fill(t, dir, files)
	}
	return root
}

const none1 = "9223372036854771712\n"

func v1Group(limit, usage, cache string) map[string]string {
	return map[string]string{
		"memory.limit_in_bytes": limit, "memory.usage_in_bytes": usage,
		"memory.stat": "cache 1\ntotal_inactive_file " + cache + "\n",
	}
}

func v2Group(limit, usage, cache string) map[string]string {
	return map[string]string{"memory.max": limit, "memory.current": usage, "memory.stat": "inactive_file " + cache + "\n"}
}

func TestMemoryAt(t *testing.T) {
	unlimited := Memory{math.MaxInt64, math.MaxInt64}
	for _, c := range []struct {
		name   string
		v1     map[string]map[string]string
		v2     map[string]map[string]string
		v2Has  []string
		inside string // the hierarchy's base, below its root
		want   Memory
	}{
		{name: "no controller", v2: map[string]map[string]string{"": {}}, want: unlimited},
		{name: "v1 without limits", v1: map[string]map[string]string{"": v1Group(none1, "500\n", "0"), "box": v1Group(none1, "1", "0")}, want: unlimited},
		{
			name: "v1, and only the platform's own group is limited",
			v1:   map[string]map[string]string{"": v1Group(none1, "500", "0"), "platform": v1Group("1000", "900", "0")},
			want: unlimited,
		},
		{
			name: "v1 in a container, whose root has the limit",
			v1:   map[string]map[string]string{"": v1Group("1000\n", "900\n", "300"), "box": v1Group(none1, "1", "0")},
			want: Memory{1000, 400},
		},
		{
			name: "v1, and a limit above what is mounted",
			v1: map[string]map[string]string{"": {
				"memory.limit_in_bytes": none1, "memory.usage_in_bytes": "100",
				"memory.stat": "hierarchical_memory_limit 700\ntotal_inactive_file 0\n",
			}},
			want: Memory{700, 600},
		},
		{name: "v2 root", v2: map[string]map[string]string{"": {}}, v2Has: []string{"memory"}, want: unlimited},
		{
			name: "v2 in a container", v2Has: []string{"memory"},
			v2:   map[string]map[string]string{"": v2Group("5000\n", "4000\n", "1000")},
			want: Memory{5000, 2000},
		},
		{
			name: "v2 delegated: the least of all above, and of the parent", v2Has: []string{"memory"}, inside: "user/unit",
			v2: map[string]map[string]string{
				"": {}, "user": v2Group("9000", "8900", "0"), "user/unit": v2Group("5000", "1000", "0"),
				"user/unit/box": v2Group("max", "1000", "0"), "user/other": v2Group("10", "10", "0"),
			},
			want: Memory{5000, 100},
		},
		{
			name: "v2, and the parent itself is over", v2Has: []string{"memory"},
			v2:   map[string]map[string]string{"": {}, "box": v2Group("500", "600", "0")},
			want: Memory{500, 0},
		},
		{
			name: "hybrid: memory is version 1's", v1: map[string]map[string]string{"": v1Group("800", "0", "0")},
			v2:   map[string]map[string]string{"": v2Group("100", "0", "0")},
			want: Memory{800, 800},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Layout{V1: map[string]string{}, V2Controllers: c.v2Has}
			if c.v1 != nil {
				l.V1["memory"] = tree(t, c.v1)
			}
			if c.v2 != nil {
				l.V2 = filepath.Join(tree(t, c.v2), c.inside)
			}
			place := ""
			if root := l.memoryRoot(); root != "" {
				place = filepath.Join(root, "box")
			}
			got, err := l.memoryAt(place)
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestRealMemory limits a parent for real: what is left is below that, and a
// limit elsewhere does not matter.
func TestRealMemory(t *testing.T) {
	l := realLayout(t)
	if l.memoryRoot() == "" {
		t.Skip("the machine has no memory controller")
	}
	p := NewParent(parentOf(t))
	free, err := p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	g, err := p.Create("one", Limits{Memory: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, g)
	if got, err := p.Memory(); err != nil || got.Limit != free.Limit {
		t.Errorf("with one instance limited: got %+v, %v; want the limit %d as before", got, err, free.Limit)
	}
	const limit = 64 << 20
	if err := l.At("", parentOf(t)).limitMemory(limit); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Memory(); err != nil || got.Limit != limit || got.Left <= 0 || got.Left > limit {
		t.Errorf("with the parent limited: got %+v, %v; want the limit %d", got, err, limit)
	}
}

func TestMemoryHome(t *testing.T) {
	l := realLayout(t)
	home := l.memoryHome()
	if _, err := os.Stat(filepath.Join(home, "cgroup.procs")); l.memoryRoot() != "" && err != nil {
		t.Errorf("memoryHome: got %q: %v", home, err)
	}
}
