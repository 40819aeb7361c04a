package faas

import (
	"sort"
	"strings"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func mergeEnv(image []string, own map[string]string) []string {
	merged := map[string]string{"PATH": defaultPath}
	for _, kv := range image {
		name, value, _ := strings.Cut(kv, "=")
		merged[name] = value
	}
	for name, value := range own {
		merged[name] = value
	}
	env := make([]string, 0, len(merged))
	for name, value := range merged {
		env = append(env, name+"="+value)
	}
	sort.Strings(env)
	return env
}
