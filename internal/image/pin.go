package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/unifaas/unifaas/internal/faas"
)

// A Pin is what a reference meant when the registry was asked last. Until
// somebody pulls again it means that, whatever becomes of the tag.
type Pin struct {
	Reference string    `json:"reference"` // in full, with registry and tag
	Digest    string    `json:"digest"`    // "sha256:..." of its manifest or index
	Image     string    `json:"image"`     // SHA-256 of the image's configuration
	Pulled    time.Time `json:"pulled"`
	// Asked: by Pull, not by a function's first load.
	Asked bool `json:"asked"`
}

func pinKind() string { return "pins" + plainSuffix() }

func pinName(ref name.Reference) string {
	sum := sha256.Sum256([]byte(ref.Name()))
	return hex.EncodeToString(sum[:])
}

// parseReference reads a reference as Docker does: without a registry it is
// one of Docker Hub, without a tag it is "latest".
func parseReference(s string) (name.Reference, error) {
	ref, err := name.ParseReference(s, name.WeakValidation)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "image %q is no reference of a registry: %w", s, err)
	}
	return ref, nil
}

// pin returns what is pinned for a reference.
func (s *Store) pin(ref name.Reference) (Pin, bool) {
	p, err := s.readPin(pinName(ref))
	return p, err == nil && p.Reference == ref.Name()
}

func (s *Store) readPin(recordName string) (p Pin, err error) {
	text, err := s.cas.Record(pinKind(), recordName)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, faas.Errorf(faas.KindInvalid, "pin %q is damaged: %w; pull its image again", recordName, err)
	}
	return p, nil
}

// setPin writes a pin unless it is there already: functions are loaded again
// when it changes.
func (s *Store) setPin(ctx context.Context, ref name.Reference, p Pin) (Pin, error) {
	if old, ok := s.pin(ref); ok && old.Digest == p.Digest && old.Image == p.Image && (old.Asked || !p.Asked) {
		return old, nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return p, fmt.Errorf("encode pin of %q: %w", p.Reference, err)
	}
	return p, s.cas.PutRecord(ctx, pinKind(), pinName(ref), text)
}
