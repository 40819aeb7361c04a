package image

import (
	"context"
	"os"
	"sort"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// dirSource is the scheme "dir": a root file system in a folder.
type dirSource struct{}

func (dirSource) assemble(ctx context.Context, a *assembly, fn *faas.Function) (faas.ImageConfig, error) {
	if err := a.addTree(ctx, "/", fn.Image.Location, true); err != nil {
		return faas.ImageConfig{}, err
	}
	return faas.ImageConfig{WorkDir: "/"}, a.addMountPoints()
}

func (dirSource) inputs(fn *faas.Function) []string { return []string{fn.Image.Location} }

// addFiles puts files and folders of the host into the image, by their path
// inside. What is named may be a symbolic link and is followed: it is the
// operator's word. Links below it stay links.
func (a *assembly) addFiles(ctx context.Context, files map[string]string) error {
	insides := make([]string, 0, len(files))
	for inside := range files {
		insides = append(insides, inside)
	}
	sort.Strings(insides)
	for _, inside := range insides {
		if err := a.addFile(ctx, inside, files[inside]); err != nil {
			return err
		}
	}
	return nil
}

func (a *assembly) addFile(ctx context.Context, inside, outside string) error {
	info, err := os.Stat(outside)
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "files: %q: %w", inside, err)
	}
	if info.IsDir() {
		return a.addTree(ctx, inside, outside, false)
	}
	c, st, err := a.readStat(ctx, outside)
	if err != nil {
		return faas.Errorf(faas.KindOf(err), "files: %q: %w", inside, err)
	}
	return a.put(inside, tree.Node{
		Type: tree.File, Mode: st.Mode & 0o777, MTime: st.Mtim.Sec, Content: c.digest, Size: c.size,
	})
}
