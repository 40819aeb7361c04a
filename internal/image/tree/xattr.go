package tree

import (
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
)

// EncodeXattrs returns extended attributes as one canonical string: sorted
// name=value pairs, both in hexadecimal, with commas between them.
func EncodeXattrs(attrs map[string]string) string {
	pairs := make([]string, 0, len(attrs))
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		pairs = append(pairs, hex.EncodeToString([]byte(name))+"="+hex.EncodeToString([]byte(attrs[name])))
	}
	return strings.Join(pairs, ",")
}

// DecodeXattrs reads what EncodeXattrs has written.
func DecodeXattrs(s string) (map[string]string, error) {
	if s == "" {
		return nil, nil
	}
	attrs := map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(pair, "=")
		n, err1 := hex.DecodeString(name)
		v, err2 := hex.DecodeString(value)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		attrs[string(n)] = string(v)
	}
	if EncodeXattrs(attrs) != s {
		return nil, errors.New("the extended attributes are not canonical")
	}
	return attrs, nil
}
