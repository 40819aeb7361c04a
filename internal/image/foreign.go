package image

import (
	"context"

	"github.com/unifaas/unifaas/internal/faas"
)

// keepsOwnImages reports whether the function's sandbox has a store of images
// of its own, so that ours only names them.
func keepsOwnImages(fn *faas.Function) bool {
	return fn.Sandbox == "docker" && fn.Image.Scheme == "registry"
}

func referenceImage(source faas.ImageSource) faas.Image {
	return faas.Image{Digest: digestOf("unifaas-reference-1", source.String())}
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
