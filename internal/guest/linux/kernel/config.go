package kernel

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
)

// Marks around a kernel's configuration, compressed by gzip, that it carries
// where CONFIG_IKCONFIG is set (Linux, kernel/configs.c).
const (
	configBegin = "IKCFG_ST"
	configEnd   = "IKCFG_ED"
)

// embeddedConfig reads the configuration in an ELF kernel, nil when there is
// none.
func embeddedConfig(vmlinux []byte) (map[string]string, error) {
	_, rest, found := bytes.Cut(vmlinux, []byte(configBegin+"\x1f\x8b"))
	if !found {
		return nil, nil
	}
	packed, _, found := bytes.Cut(rest, []byte(configEnd))
	if !found {
		return nil, nil
	}
	r, err := gzip.NewReader(io.MultiReader(strings.NewReader("\x1f\x8b"), bytes.NewReader(packed)))
	if err != nil {
		return nil, fmt.Errorf("read the kernel's configuration: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("read the kernel's configuration: %w", err)
	}
	return parseConfig(string(text)), nil
}

// parseConfig reads a file of lines "CONFIG_NAME=value". Only options that are
// built in or modules are kept.
func parseConfig(text string) map[string]string {
	config := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		name, ok := strings.CutPrefix(name, "CONFIG_")
		if ok && (value == "y" || value == "m") {
			config[name] = value
		}
	}
	return config
}
