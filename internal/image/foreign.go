package image

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/unifaas/unifaas/internal/faas"
)

// keepsOwnImages reports whether the function's sandbox has a store of images
// of its own, so that ours only names them. Files put into an image make
// another one, which is of our store.
func keepsOwnImages(fn *faas.Function) bool {
	return fn.Sandbox == "docker" && fn.Image.Scheme == "registry" && len(fn.Files) == 0
}

// A Keeper tells what a reference names in a sandbox's own store of images.
// The error's kind is not-found when there is no such image in it.
type Keeper func(ctx context.Context, sandbox, reference string) (faas.Kept, error)

// A keptPin is what a reference of a sandbox with images of its own meant when
// it was asked last.
type keptPin struct {
	Reference string     `json:"reference"` // in full
	Image     faas.Image `json:"image"`
	Digest    string     `json:"digest"` // of the registry's manifest or, of an image that no registry has, the image's ID
	Pulled    time.Time  `json:"pulled"`
}

// keptKind is the kind of their records, by [pinName].
const keptKind = "kept"

func (s *Store) keptPin(ref name.Reference) (p keptPin, ok bool) {
	text, err := s.cas.Record(keptKind, pinName(ref))
	if err != nil {
		return p, false
	}
	err = json.Unmarshal(text, &p)
	return p, err == nil && p.Reference == ref.Name() && p.Image.Kept != ""
}

func (s *Store) setKept(ctx context.Context, ref name.Reference, p keptPin) error {
	if old, ok := s.keptPin(ref); ok && old.Image.Digest == p.Image.Digest {
		return nil // functions are loaded again when it changes
	}
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode pin of %q: %w", p.Reference, err)
	}
	return s.cas.PutRecord(ctx, keptKind, pinName(ref), text)
}

// resolveKept returns the image that a reference is pinned to, or pins it: to
// what the sandbox has under that name, or else the registry.
func (s *Store) resolveKept(ctx context.Context, fn *faas.Function) (faas.Image, error) {
	ref, err := parseReference(fn.Image.Location)
	if err != nil {
		return faas.Image{}, err
	}
	p, ok := s.keptPin(ref)
	if ok {
		s.cas.MarkRecord(keptKind, pinName(ref))
		return p.Image, nil
	}
	kept, there := s.kept(ctx, fn.Sandbox, fn.Image.Location)
	if there == nil {
		p = pinKept(ref, kept)
	} else if p, err = s.askRegistry(ctx, ref); err != nil {
		return faas.Image{}, wrap(nowhere(there, err), "image %q", fn.Image)
	}
	return p.Image, s.setKept(ctx, ref, p)
}

// askKept finds out what a reference means now. What a registry has is its to
// tell, since the sandbox's copy may be old; what was only built here, and what
// the registry does not give, the sandbox knows.
func (s *Store) askKept(ctx context.Context, sandbox, location string, ref name.Reference) (keptPin, error) {
	kept, there := s.kept(ctx, sandbox, location)
	if there == nil && kept.Reference == "" {
		return pinKept(ref, kept), nil
	}
	p, err := s.askRegistry(ctx, ref)
	switch lasting := faas.KindOf(err); {
	case err == nil:
		return p, nil
	case there == nil && (lasting == faas.KindNotFound || lasting == faas.KindInvalid):
		// Some of Docker's stores give what was built here a registry's name.
		s.logger.Warn("the registry does not give this image; the sandbox's own copy is used", "image", location, "sandbox", sandbox, "err", err)
		return pinKept(ref, kept), nil
	}
	return p, wrap(nowhere(there, err), "image %q", location)
}

// nowhere is the error of an image that is not to be had: from the sandbox's
// store for one reason, from its registry for another. A sandbox that can't be
// asked may have it later.
func nowhere(there, registry error) error {
	if faas.KindOf(there) == faas.KindNotFound {
		return registry
	}
	return faas.Errorf(faas.KindBusy, "%w; and %w", registry, there)
}

func (s *Store) kept(ctx context.Context, sandbox, location string) (faas.Kept, error) {
	if s.keeper == nil {
		return faas.Kept{}, faas.Errorf(faas.KindNotFound, "nobody knows the images of sandbox %q", sandbox)
	}
	return s.keeper(ctx, sandbox, location)
}

// pinKept pins a reference to an image that the sandbox has.
func pinKept(ref name.Reference, k faas.Kept) keptPin {
	name, digest := k.Reference, k.ID
	if name == "" {
		name = k.ID
	} else if d, err := parseReference(name); err == nil {
		digest = d.Identifier()
	}
	return newKeptPin(ref, name, digest, k.Port)
}

func newKeptPin(ref name.Reference, name, digest string, port int) keptPin {
	return keptPin{
		Reference: ref.Name(), Digest: digest, Pulled: time.Now().UTC().Round(time.Second),
		Image: faas.Image{Digest: digestOf("unifaas-kept-1", digest), Kept: name, Config: faas.ImageConfig{Port: port}},
	}
}

// askRegistry pins a reference to what its registry has, of which only what
// describes it is fetched.
func (s *Store) askRegistry(ctx context.Context, ref name.Reference) (keptPin, error) {
	repo, err := s.registry.Repository(ctx, ref.Context())
	if err != nil {
		return keptPin{}, err
	}
	manifest, err := repo.Manifest(ctx, ref.Identifier())
	if err != nil {
		return keptPin{}, err
	}
	b, err := openBundle(ctx, remote{repo, new(job)}, manifest.Body, s.platform)
	if err != nil {
		return keptPin{}, err
	}
	file, err := b.config(ctx)
	if err != nil {
		return keptPin{}, err
	}
	return newKeptPin(ref, ref.Context().Digest(manifest.Digest).Name(), manifest.Digest, file.runConfig().Port), nil
}

// currentKept is [Store.Current] for a sandbox that keeps its own images. An
// image that no registry has is named by its ID, in a digest's place.
func (s *Store) currentKept(ctx context.Context, fn *faas.Function, ref name.Reference) (string, error) {
	p, err := s.askKept(ctx, fn.Sandbox, fn.Image.Location, ref)
	if err != nil {
		return "", err
	}
	pinned := ref.Context().Digest(p.Digest)
	return pinned.Name(), s.setKept(ctx, pinned, p.of(pinned))
}

// of is the pin of another reference to the same image.
func (p keptPin) of(ref name.Reference) keptPin {
	p.Reference = ref.Name()
	return p
}

// pullKept asks anew for a reference that a sandbox with images of its own
// uses; ok is false where none does. Functions that use it are loaded again,
// and the sandbox gets the image for them.
func (s *Store) pullKept(ctx context.Context, reference string, ref name.Reference) (l Listed, ok bool, err error) {
	if _, ok := s.keptPin(ref); !ok {
		return Listed{}, false, nil
	}
	p, err := s.askKept(ctx, "docker", reference, ref)
	if err == nil {
		err = s.setKept(ctx, ref, p)
	}
	return Listed{Source: p.Reference, Digest: p.Digest, Pulled: p.Pulled}, true, err
}

// isRawVM reports whether the function brings a kernel and a disk, which are
// used where they are.
func isRawVM(fn *faas.Function) bool { return fn.VM != nil && fn.VM.Kernel != "" }

func (s *Store) resolveRawVM(ctx context.Context, fn *faas.Function) (faas.Image, error) {
	a := s.newAssembly()
	defer a.close()
	kernel, err := a.read(ctx, fn.VM.Kernel)
	if err != nil {
		return faas.Image{}, err
	}
	disk, err := a.read(ctx, fn.VM.Image)
	if err != nil {
		return faas.Image{}, err
	}
	return faas.Image{Digest: digestOf("unifaas-raw-vm-1", kernel.digest, disk.digest)}, a.verify()
}
