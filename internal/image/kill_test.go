package image_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/imagetest"
)

// The test binary is also another process on the same store.
const (
	storeEnv  = "UNIFAAS_TEST_STORE"
	layoutEnv = "UNIFAAS_TEST_LAYOUT"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(storeEnv); dir != "" {
		if err := importOnce(dir, os.Getenv(layoutEnv)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func importOnce(dir, layout string) error {
	s, err := image.Open(dir, image.Options{})
	if err != nil {
		return err
	}
	_, err = s.Resolve(context.Background(), &faas.Function{Image: faas.ImageSource{Scheme: "oci", Location: layout}})
	return err
}

func importer(p *place, layout string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), storeEnv+"="+p.state, layoutEnv+"="+layout)
	cmd.Stdout = os.Stderr
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return cmd
}

// bigImage takes long enough to be killed at.
func bigImage(t *testing.T) imagetest.Image {
	img := hello(t)
	contents := map[string]string{}
	for i := range 300 {
		contents[fmt.Sprintf("dir%d/file%d", i%7, i)] = strings.Repeat(fmt.Sprint(i), 5000)
	}
	img.Layers = append(img.Layers, imagetest.Files(t, contents))
	return img
}

// However late an import is killed, the next run finds a store in order and
// ends the import.
func TestKilledImport(t *testing.T) {
	layout := imagetest.WriteLayout(t, bigImage(t))
	killed := 0
	for _, after := range []time.Duration{5, 15, 30, 50, 80, 120, 200} {
		p := newPlace(t)
		cmd := importer(p, layout)
		time.Sleep(after * time.Millisecond)
		_ = cmd.Process.Kill() // unless it has ended
		if err := cmd.Wait(); err != nil {
			killed++
		}
		p.open(image.Options{})
		p.nothingLeft()
		p.checkHello(p.resolve(p.function("oci", layout)))
	}
	if killed == 0 {
		t.Error("no import was killed")
	}
}

// Several processes import the same image at the same time.
func TestImportsByProcesses(t *testing.T) {
	layout := imagetest.WriteLayout(t, bigImage(t))
	p := newPlace(t)
	cmds := []*exec.Cmd{importer(p, layout), importer(p, layout), importer(p, layout)}
	p.checkHello(p.resolve(p.function("oci", layout)))
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	p.nothingLeft()
}
