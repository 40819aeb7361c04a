package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/unifaas/unifaas/internal/faas"
)

// revisionVersion goes into every digest; it changes with the encoding.
const revisionVersion = "unifaas-revision-1\n"

const defaultPort = 8080

// NewRevision binds a function to its image. The digest covers the whole
// configuration and the image, but not where on this host they came from: the
// same function has the same revision in another folder and on another node.
//
// A function that names no port serves on the one that its image exposes, or
// on 8080. One that names no command, where its image names none either, is
// invalid.
func NewRevision(fn *faas.Function, img faas.Image) (*faas.Revision, error) {
	rev, err := newRevision(fn, img)
	if err != nil || fn.Fallback == "" {
		return rev, err
	}
	if img.Rootfs == "" {
		return nil, faas.Errorf(faas.KindInvalid,
			"function %q: its image is in the store of sandbox %q, where fallback = %q can't read it; take another image or leave fallback out",
			fn.Ref, fn.Sandbox, fn.Fallback)
	}
	rev.Fallback, err = newRevision(standIn(fn), img)
	return rev, err
}

// standIn returns fn as its fallback runs it.
func standIn(fn *faas.Function) *faas.Function {
	f := *fn
	f.Sandbox, f.Fallback, f.MinInstances = fn.Fallback, "", 0
	f.Runtime = defaultRuntime // the other sandbox may know no such runtime
	if isUnikernel(f.Sandbox) && f.Health == "" {
		f.Health = faas.HealthTCP
	}
	switch {
	case f.VM == nil:
	case f.Sandbox == "linux": // boots on every monitor
		f.VM = &faas.VM{VMM: fn.VM.VMM, DiskRate: fn.VM.DiskRate, NetworkRate: fn.VM.NetworkRate}
	case isVM(f.Sandbox):
		f.VM = &faas.VM{DiskRate: fn.VM.DiskRate}
	default:
		f.VM = nil
	}
	return &f
}

func newRevision(fn *faas.Function, img faas.Image) (*faas.Revision, error) {
	bound := *fn
	if bound.Port == 0 {
		bound.Port = img.Config.Port
	}
	if bound.Port == 0 {
		bound.Port = defaultPort
	}
	bare := bound
	bare.Dir = ""
	bare.Files = nil // what they put inside is part of the image
	if bare.Image.Scheme != "registry" {
		bare.Image.Location = ""
	}
	if bare.VM != nil {
		vm := *bare.VM
		vm.Kernel, vm.Image = "", ""
		bare.VM = &vm
	}
	// encoding/json writes fields in their order and maps sorted by key.
	text, err := json.Marshal(struct {
		Function faas.Function
		Image    string
		Config   faas.ImageConfig
	}{bare, img.Digest, img.Config})
	if err != nil {
		return nil, fmt.Errorf("encode function %q: %w", fn.Ref, err)
	}
	sum := sha256.Sum256(append([]byte(revisionVersion), text...))
	rev := &faas.Revision{
		Function: bound, Image: img, Digest: "sha256:" + hex.EncodeToString(sum[:]),
	}
	// An image that is not in our store is its sandbox's to read.
	if img.Rootfs != "" {
		if _, err := rev.Argv(); err != nil {
			return nil, err
		}
	}
	return rev, nil
}
