package runc

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"strings"
	"unicode"
)

const (
	// maxLog bounds how much of a runtime's log is read, in bytes, and
	// maxMessage how much of a message is passed on.
	maxLog     = 1 << 20
	maxMessage = 512
)

// lastError returns the last error in a runtime's log, "" if it has none.
func lastError(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	return parseLog(io.LimitReader(f, maxLog))
}

// parseLog reads what runtimes write with --log-format json: one object a
// line, with "level" and "msg". Anything else is passed over.
func parseLog(r io.Reader) string {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLog)
	last := ""
	for lines.Scan() {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(lines.Bytes(), &entry) != nil || entry.Msg == "" {
			continue
		}
		if entry.Level == "error" || entry.Level == "fatal" {
			last = printable(entry.Msg)
		}
	}
	return last
}

// printable makes foreign text fit for one line of ours.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "..."
	}
	return strings.TrimSpace(s)
}
