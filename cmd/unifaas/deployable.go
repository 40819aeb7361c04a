package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/deploy"
	"github.com/unifaas/unifaas/internal/faas"
)

// A deployable is what `unifaas deploy` was told to deploy, as a bundle.
type deployable struct {
	name   string // of the function, unless another is chosen; may be no valid one
	source string // for people
	file   string // its function.toml in messages
	pack   func(*deploy.Packer) error
}

// findDeployable decides what arg means: an image when it says so, what is at
// that path if anything is, else an image of a registry.
func findDeployable(arg string) (*deployable, error) {
	if scheme, location, ok := strings.Cut(arg, ":"); ok {
		switch scheme {
		case "oci", "dir":
			return localImage(scheme, location, "./image", func(p *deploy.Packer) error { return p.Folder("image", location) }, true)
		case "docker-archive":
			return localImage(scheme, location, "./image.tar", func(p *deploy.Packer) error { return p.File("image.tar", location) }, false)
		case "file":
			return program(location)
		}
	}
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		return functionFolder(arg)
	case err == nil && filepath.Base(arg) == catalog.FileName:
		return functionFolder(filepath.Dir(arg))
	case err == nil:
		return program(arg)
	case !os.IsNotExist(err) || strings.HasPrefix(arg, ".") || strings.HasPrefix(arg, "/"):
		return nil, faas.Errorf(faas.KindNotFound, "nothing to deploy: %w", err)
	}
	return &deployable{
		name: referenceName(arg), source: "image " + arg, file: "image",
		pack: func(p *deploy.Packer) error { return p.Text(catalog.FileName, imageText(arg)) },
	}, nil
}

// imageText is the function.toml of what comes without one.
func imageText(image string) string {
	text, err := toml.Marshal(map[string]string{"image": image})
	if err != nil {
		panic(err) // a string can always be encoded
	}
	return string(text)
}

// referenceName is the last part of an image's repository.
func referenceName(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	name = path.Base(name)
	name, _, _ = strings.Cut(name, ":")
	return name
}

func localImage(scheme, location, inside string, pack func(*deploy.Packer) error, folder bool) (*deployable, error) {
	info, err := os.Stat(location)
	switch {
	case err != nil:
		return nil, faas.Errorf(faas.KindNotFound, "nothing to deploy: %w", err)
	case info.IsDir() != folder && folder:
		return nil, faas.Errorf(faas.KindInvalid, "%s:%s names no folder", scheme, location)
	case info.IsDir() != folder:
		return nil, faas.Errorf(faas.KindInvalid, "%s:%s names a folder, not a file", scheme, location)
	}
	return &deployable{
		name: strings.TrimSuffix(baseName(location), ".tar"), source: scheme + ":" + location, file: scheme + ":" + location,
		pack: func(p *deploy.Packer) error {
			if err := p.Text(catalog.FileName, imageText(scheme+":"+inside)); err != nil {
				return err
			}
			return pack(p)
		},
	}, nil
}

func functionFolder(dir string) (*deployable, error) {
	file := filepath.Join(dir, catalog.FileName)
	if _, err := os.Stat(file); err != nil {
		return nil, faas.Errorf(faas.KindInvalid,
			"folder %q has no %s: write one that says at least which image, or deploy a program or an image", dir, catalog.FileName)
	}
	return &deployable{
		name: baseName(dir), source: "folder " + dir, file: file,
		pack: func(p *deploy.Packer) error { return p.Folder("", dir) },
	}, nil
}

func program(file string) (*deployable, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, faas.Errorf(faas.KindNotFound, "nothing to deploy: %w", err)
	case info.IsDir():
		return nil, faas.Errorf(faas.KindInvalid, "program %q is a folder; name the file in it, or deploy the folder with a %s in it", file, catalog.FileName)
	case !info.Mode().IsRegular():
		return nil, faas.Errorf(faas.KindInvalid, "program %q is no regular file", file)
	}
	name := baseName(file)
	return &deployable{
		name: name, source: "program " + file, file: "program " + file,
		pack: func(p *deploy.Packer) error {
			if err := p.Text(catalog.FileName, imageText("file:./program/"+name)); err != nil {
				return err
			}
			return p.File("program/"+name, file)
		},
	}, nil
}

// baseName is the last part of a path, also of "." and "..".
func baseName(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return filepath.Base(path)
}

// bundle returns the bundle, made while it is read. It must be closed.
func (d *deployable) bundle() io.ReadCloser {
	reader, writer := io.Pipe()
	go func() {
		packer := deploy.NewPacker(writer)
		err := d.pack(packer)
		if err == nil {
			err = packer.Close()
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", d.source, err)
		}
		writer.CloseWithError(err)
	}()
	return reader
}
