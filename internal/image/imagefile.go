package image

import (
	"encoding/json"
	"path"
	"strconv"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
)

// imageFile is what is needed of an image's configuration (OCI image-spec,
// config.md), which Docker's has the same names for.
type imageFile struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	Config struct {
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		Env          []string            `json:"Env"`
		User         string              `json:"User"`
		WorkingDir   string              `json:"WorkingDir"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
	} `json:"config"`
}

// maxLayers is more than any builder makes; Docker allows 127.
const maxLayers = 512

// parseImageFile reads a configuration and checks that it is of an image for p.
func parseImageFile(text []byte, p platform) (*imageFile, error) {
	var f imageFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "its configuration is damaged: %w", err)
	}
	if f.RootFS.Type != "layers" {
		return nil, faas.Errorf(faas.KindInvalid, "it is not an image of a root file system")
	}
	if len(f.RootFS.DiffIDs) > maxLayers {
		return nil, faas.Errorf(faas.KindInvalid, "it has %d layers; the limit is %d", len(f.RootFS.DiffIDs), maxLayers)
	}
	for _, id := range f.RootFS.DiffIDs {
		if !isDigest(id) {
			return nil, faas.Errorf(faas.KindInvalid, "its configuration names a layer %q, which is no SHA-256", id)
		}
	}
	// Some builders say nothing; then it is the operator's word that it suits.
	if f.Architecture == "" {
		return &f, nil
	}
	// A variant matters on 32-bit ARM; elsewhere builders put in what they like.
	if p.rank(f.OS, f.Architecture, "") < 0 || f.Architecture == "arm" && p.rank(f.OS, f.Architecture, f.Variant) < 0 {
		return nil, wrongPlatform(p, platformName(f.OS, f.Architecture, f.Variant))
	}
	return &f, nil
}

func wrongPlatform(p platform, have string) error {
	return faas.Errorf(faas.KindInvalid, "there is no version of it for this machine, %s; it is for %s", p, have)
}

// isDigest reports whether s is "sha256:" and 64 hexadecimal digits.
func isDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// runConfig returns what f says about running the image.
func (f *imageFile) runConfig() faas.ImageConfig {
	c := faas.ImageConfig{
		Entrypoint: append(append([]string(nil), f.Config.Entrypoint...), f.Config.Cmd...),
		Env:        f.Config.Env,
		User:       f.Config.User,
		WorkDir:    path.Clean("/" + f.Config.WorkingDir),
	}
	for exposed := range f.Config.ExposedPorts {
		if port := tcpPort(exposed); port > 0 && (c.Port == 0 || port < c.Port) {
			c.Port = port
		}
	}
	return c
}

// tcpPort returns the port in "8080", "8080/tcp" or "8000-8010/tcp", else 0.
func tcpPort(s string) int {
	port, protocol, found := strings.Cut(s, "/")
	if found && protocol != "tcp" {
		return 0
	}
	port, _, _ = strings.Cut(port, "-")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}
