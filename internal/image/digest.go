package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/unifaas/unifaas/internal/faas"
)

// imageDigest names an image: its tree and how it is run.
func imageDigest(treeDigest string, config faas.ImageConfig) string {
	text, err := json.Marshal(config)
	if err != nil {
		panic(err) // strings and numbers only: it can't fail
	}
	return digestOf("unifaas-image-1", treeDigest, string(text))
}

func digestOf(lines ...string) string {
	h := sha256.New()
	for _, line := range lines {
		h.Write([]byte(line))
		h.Write([]byte{'\n'})
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
