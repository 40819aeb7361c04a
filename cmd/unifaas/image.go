package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
)

// imageCmd are the commands on images. Those on the store are carried out by the
// running platform or, without one, by this process.
type imageCmd struct {
	Pull    imagePullCmd    `cmd:"" help:"Ask a registry what a reference means now, and have functions use that."`
	List    imageListCmd    `cmd:"" help:"List the images in the store."`
	Prune   imagePruneCmd   `cmd:"" help:"Remove images that no function uses."`
	Build   imageBuildCmd   `cmd:"" help:"Write what a virtual machine boots with a function, for use outside the platform."`
	Inspect imageInspectCmd `cmd:"" help:"Tell what is inside of a disk or an initial file system of a virtual machine."`
}

type imagePullCmd struct {
	output
	Reference string `arg:"" help:"Of an image in a registry, for instance ghcr.io/owner/name:tag."`
}

func (c *imagePullCmd) Run(e *env) error {
	images, done, err := e.images()
	if err != nil {
		return err
	}
	img, err := images.PullImage(e.ctx, c.Reference)
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	return c.print(e.stdout, img, func(w io.Writer) {
		fmt.Fprintf(w, "%s is %s, %s\n", img.Source, img.Digest, mebibytes(img.Size))
	})
}

type imageListCmd struct{ output }

func (c *imageListCmd) Run(e *env) error {
	images, done, err := e.images()
	if err != nil {
		return err
	}
	list, err := images.Images(e.ctx)
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	return c.print(e.stdout, list, func(w io.Writer) {
		t := newTable(w, "image", "digest", "size", "unique", "functions")
		for _, i := range list {
			t.AppendRow(table.Row{orDash(i.Source), shortDigest(i.Digest), mebibytes(i.Size), mebibytes(i.Unique), orDash(strings.Join(i.Functions, ", "))})
		}
		t.Render()
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// shortDigest leaves enough of a digest for people.
func shortDigest(d string) string {
	const length = len("sha256:") + 12
	return d[:min(len(d), length)]
}

type imagePruneCmd struct {
	output
	All bool `help:"Remove also images that were pulled by hand. Without a running platform: all images of registries."`
}

func (c *imagePruneCmd) Run(e *env) error {
	images, done, err := e.images()
	if err != nil {
		return err
	}
	pruned, err := images.PruneImages(e.ctx, c.All)
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	return c.print(e.stdout, pruned, func(w io.Writer) {
		for _, r := range pruned.References {
			fmt.Fprintln(w, r)
		}
		fmt.Fprintf(w, "removed %d root file systems and %d files, %.1f MiB\n", pruned.Trees, pruned.Files, float64(pruned.Bytes)/(1<<20))
	})
}

// images returns the platform that runs or, when none does, its store. The
// caller calls done.
func (e *env) images() (images control.Images, done func() error, err error) {
	if c := e.client(); c.Running(e.ctx) {
		return c, func() error { return nil }, nil
	}
	store, err := image.Open(filepath.Join(e.dirs.StateDir, "store"), image.Options{})
	if err != nil {
		return nil, nil, err
	}
	return idleStore{store, e.dirs.RunDir}, store.Close, nil
}

// idleStore is the store of a platform that does not run.
type idleStore struct {
	store  *image.Store
	runDir string
}

// Images implements [control.Images]. Which functions there are only a
// platform knows.
func (s idleStore) Images(ctx context.Context) ([]control.Image, error) {
	listed, err := s.store.List(ctx, nil)
	if err != nil {
		return nil, err
	}
	list := make([]control.Image, 0, len(listed))
	for _, l := range listed {
		list = append(list, control.Image(l))
	}
	return list, nil
}

// PullImage implements [control.Images].
func (s idleStore) PullImage(ctx context.Context, reference string) (control.Image, error) {
	l, err := s.store.Pull(ctx, reference)
	return control.Image(l), err
}

// PruneImages implements [control.Images].
func (s idleStore) PruneImages(ctx context.Context, all bool) (control.PrunedImages, error) {
	// Instances outlive a platform that is killed.
	left, err := os.ReadDir(filepath.Join(s.runDir, "instances"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return control.PrunedImages{}, fmt.Errorf("look for instances: %w", err)
	}
	if len(left) > 0 {
		return control.PrunedImages{}, faas.Errorf(faas.KindBusy,
			"instances of a platform that is gone may still use their images; start it with `unifaas up` and prune then")
	}
	p, err := s.store.PruneImages(ctx, image.PruneOptions{Asked: all, Loaded: all})
	return control.PrunedImages{References: p.References, Trees: p.Trees, Files: p.Objects, Bytes: p.Bytes}, err
}
