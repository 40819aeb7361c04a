package catalog

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
)

// A table reads the values of one TOML table. Each reader returns what it was
// given as default where the key is absent or wrong; what is wrong is noted
// in the document.
type table struct {
	doc    *document
	path   string
	prefix string // of key names in messages
	values map[string]any
	known  map[string]bool
}

func (d *document) table() *table {
	return &table{doc: d, values: d.root, known: map[string]bool{}}
}

func (t *table) has(key string) bool { _, ok := t.values[key]; return ok }

// get returns the value of key, nil when absent, and makes key known.
func (t *table) get(key string) any {
	t.known[key] = true
	return t.values[key]
}

func (t *table) problem(key, format string, args ...any) {
	t.doc.problem(join(t.path, key), fmt.Sprintf(format, args...))
}

func (t *table) wrongType(key, want string, got any) {
	t.problem(key, "%s must be %s, not %s", t.prefix+key, want, typeName(got))
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	default:
		return "a date or time"
	}
}

func (t *table) str(key, def string) string {
	switch v := t.get(key).(type) {
	case nil:
	case string:
		if strings.ContainsRune(v, 0) {
			t.problem(key, "%s holds a NUL byte", t.prefix+key)
			return def
		}
		return v
	default:
		t.wrongType(key, "a string", v)
	}
	return def
}

func (t *table) boolean(key string) bool {
	switch v := t.get(key).(type) {
	case nil:
	case bool:
		return v
	default:
		t.wrongType(key, "a boolean", v)
	}
	return false
}

func (t *table) integer(key string, def, low, high int64) int64 {
	switch v := t.get(key).(type) {
	case nil:
	case int64:
		if v >= low && v <= high {
			return v
		}
		t.problem(key, "%s = %d is out of range: %d to %d", t.prefix+key, v, low, high)
	default:
		t.wrongType(key, "an integer", v)
	}
	return def
}

func (t *table) number(key string, def, low, high float64) float64 {
	var f float64
	switch v := t.get(key).(type) {
	case nil:
		return def
	case int64:
		f = float64(v)
	case float64:
		f = v
	default:
		t.wrongType(key, "a number", v)
		return def
	}
	// The condition is written so that NaN is out of range, too.
	if !(f >= low && f <= high) {
		t.problem(key, "%s = %v is out of range: %v to %v", t.prefix+key, f, low, high)
		return def
	}
	return f
}

// maxDuration bounds every duration; it is far from overflow.
const maxDuration = 10 * 365 * 24 * time.Hour

func (t *table) duration(key string, def, low time.Duration) time.Duration {
	switch v := t.get(key).(type) {
	case nil:
	case string:
		d, err := time.ParseDuration(v)
		switch {
		case err != nil:
			t.problem(key, "%s = %q is no duration; write for instance \"60s\" or \"1m30s\"", t.prefix+key, v)
		case d < low || d > maxDuration:
			t.problem(key, "%s = %q is out of range: %v to %v", t.prefix+key, v, low, maxDuration)
		default:
			return d
		}
	default:
		t.wrongType(key, `a duration such as "60s"`, v)
	}
	return def
}

func (t *table) strings(key string) []string {
	v := t.get(key)
	list, ok := v.([]any)
	if !ok {
		if v != nil {
			t.wrongType(key, "an array of strings", v)
		}
		return nil
	}
	out := make([]string, 0, len(list))
	for i, e := range list {
		s, ok := e.(string)
		at := join(key, strconv.Itoa(i))
		switch {
		case !ok:
			t.problem(at, "%s[%d] must be a string, not %s", t.prefix+key, i, typeName(e))
		case strings.ContainsRune(s, 0):
			t.problem(at, "%s[%d] holds a NUL byte", t.prefix+key, i)
		default:
			out = append(out, s)
		}
	}
	return out
}

// stringMap reads a table of strings; check may refuse a pair by returning a
// message.
func (t *table) stringMap(key string, check func(name, value string) string) map[string]string {
	sub := t.sub(key)
	if sub == nil {
		return nil
	}
	out := make(map[string]string, len(sub.values))
	for _, name := range sub.names() {
		if _, ok := sub.values[name].(string); !ok {
			sub.wrongType(name, "a string", sub.values[name])
			continue
		}
		value := sub.str(name, "")
		if message := check(name, value); message != "" {
			sub.problem(name, "%s", message)
			continue
		}
		out[name] = value
	}
	return out
}

// sub returns the table at key, or nil when it is absent or something else.
func (t *table) sub(key string) *table {
	v := t.get(key)
	values, ok := v.(map[string]any)
	if !ok {
		if v != nil {
			t.wrongType(key, "a table", v)
		}
		return nil
	}
	return &table{
		doc: t.doc, path: join(t.path, key), prefix: t.prefix + key + ".",
		values: values, known: map[string]bool{},
	}
}

func (t *table) names() []string {
	names := make([]string, 0, len(t.values))
	for name := range t.values {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// refuseUnknown notes every key that no reader has asked for.
func (t *table) refuseUnknown() {
	valid := make([]string, 0, len(t.known))
	for key := range t.known {
		valid = append(valid, key)
	}
	sort.Strings(valid)
	for _, name := range t.names() {
		if !t.known[name] {
			t.problem(name, "unknown key %q%s", t.prefix+name, suggest(name, valid))
		}
	}
}
