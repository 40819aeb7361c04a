package e2e

import (
	"strings"
	"sync"
)

// A journal is a platform's log.
type journal struct {
	mu    sync.Mutex
	lines []string
	part  string
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := strings.Split(j.part+string(b), "\n")
	j.lines = append(j.lines, lines[:len(lines)-1]...)
	j.part = lines[len(lines)-1]
	return len(b), nil
}

// tail returns the last n lines, 400 if n is 0.
func (j *journal) tail(n int) string {
	if n == 0 {
		n = 400
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines[max(0, len(j.lines)-n):], "\n") + "\n" + j.part
}

// length is a position for since.
func (j *journal) length() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines)
}

func (j *journal) since(position int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines[position:], "\n")
}
