package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// write puts value into an existing control file in one write, as they
// demand.
func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %q: %w", value, err)
	}
	return nil
}

// writeIfThere writes to a file that not every kernel has.
func writeIfThere(file, value string) error {
	err := write(file, value)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func readWords(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	return strings.Fields(string(b)), err
}

func readInt(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", file, err)
	}
	return n, nil
}

// readKey returns the number behind key in a file of "key number" lines.
func readKey(file, key string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := valueOf(string(b), key)
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", file, err)
	}
	return n, nil
}

// valueOf is readKey for the text of a file. None of these numbers is
// negative.
func valueOf(text, key string) (int64, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key+" ")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 63)
		return int64(n), err
	}
	return 0, fmt.Errorf("no key %q: %w", key, fs.ErrNotExist)
}
