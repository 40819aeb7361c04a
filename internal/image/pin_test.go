package image_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/imagetest"
)

// A tag that moves changes nothing until somebody pulls, whatever happens to
// the registry and the platform.
func TestPin(t *testing.T) {
	var down atomic.Bool
	f := &faulty{on: "/", fault: func(_ int64, w http.ResponseWriter, r *http.Request) bool {
		return down.Load() && status(500)(0, w, r)
	}}
	reg := imagetest.Serve(t, f.wrap)
	first := reg.Push("app:v1", hello(t))
	p := newPlaceWith(t, image.Options{Registry: hasty})
	fn := p.function("registry", reg.Host+"/app:v1")
	old := p.resolve(fn)
	pin := p.store.Inputs(fn)[0]
	before, err := os.Stat(pin)
	if err != nil {
		t.Fatal(err)
	}

	other := hello(t)
	other.Layers = append(other.Layers, imagetest.Files(t, map[string]string{"new": "n"}))
	second := reg.Push("app:v1", other)
	if current, err := p.store.Current(t.Context(), fn); err != nil || !strings.HasSuffix(current, "/app@"+second) {
		t.Errorf("current is %q, %v", current, err)
	}
	requests := f.count.Load()
	p.open(image.Options{Registry: hasty}) // a restart
	if img := p.resolve(fn); img.Digest != old.Digest || f.count.Load() != requests {
		t.Error("the moved tag changed the image")
	}

	listed, err := p.store.Pull(t.Context(), fn.Image.Location)
	if err != nil || listed.Digest != second || second == first {
		t.Error(listed, err)
	}
	after, err := os.Stat(pin)
	if err != nil || os.SameFile(before, after) {
		t.Error("the pin does not tell of the change", err)
	}
	fresh := p.resolve(fn)
	p.has(fresh, "new", "n")

	down.Store(true)
	p.open(image.Options{Registry: hasty})
	if img := p.resolve(fn); img.Digest != fresh.Digest {
		t.Error("another image without the registry")
	}
	if _, err := p.store.Pull(t.Context(), fn.Image.Location); faas.KindOf(err) != faas.KindBusy {
		t.Error("pull from a registry that is down:", err)
	}
	if img := p.resolve(fn); img.Digest != fresh.Digest {
		t.Error("a pull that failed changed the image")
	}

	// Lost, it comes back as what it was, not as what the tag means now.
	down.Store(false)
	reg.Push("app:v1", hello(t))
	if err := p.store.Remove(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	if img := p.resolve(fn); img.Digest != fresh.Digest {
		t.Error("the image came back as another")
	}
}

func TestPullsAtOnceAreOne(t *testing.T) {
	img := hello(t)
	f := &faulty{on: "/blobs/", fault: func(int64, http.ResponseWriter, *http.Request) bool { time.Sleep(20 * time.Millisecond); return false }}
	reg := imagetest.Serve(t, f.wrap)
	reg.Push("one", img)
	reg.Push("two", img)
	p := newPlaceWith(t, image.Options{Registry: hasty})
	var wg sync.WaitGroup
	for i := range 16 {
		name := reg.Host + "/" + []string{"one", "two"}[i%2]
		wg.Go(func() {
			if i%3 == 0 {
				// One that gives up takes nothing from the others.
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
				defer cancel()
				_, _ = p.store.Pull(ctx, name)
				return
			}
			if _, err := p.store.Pull(t.Context(), name); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// Each layer once; the configuration by each of the two names; and what
	// those have fetched who gave up.
	if n := f.count.Load(); n > 3*int64(len(img.Layers)+2) {
		t.Errorf("%d blobs were fetched", n)
	}
	p.nothingLeft()
}

// A pull that takes long does not hold up the other functions.
func TestPatience(t *testing.T) {
	release := make(chan struct{})
	f := &faulty{on: "/blobs/", fault: func(_ int64, _ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return false
	}}
	reg := imagetest.Serve(t, f.wrap)
	reg.Push("slow", hello(t))
	opts := hasty
	opts.Stall = 20 * time.Second
	p := newPlaceWith(t, image.Options{Registry: opts, Patience: 10 * time.Millisecond})
	fn := p.function("registry", reg.Host+"/slow")
	p.refused(fn, faas.KindBusy, "being pulled")
	close(release)
	for deadline := time.Now().Add(20 * time.Second); ; {
		img, err := p.store.Resolve(t.Context(), fn)
		if err == nil {
			p.checkHello(img)
			break
		}
		if faas.KindOf(err) != faas.KindBusy || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// Closing ends a pull that nobody would end otherwise.
func TestCloseEndsPulls(t *testing.T) {
	reg := imagetest.Serve(t, (&faulty{on: "/blobs/", fault: silence}).wrap)
	reg.Push("slow", hello(t))
	opts := hasty
	opts.Stall = time.Hour
	p := newPlaceWith(t, image.Options{Registry: opts, Patience: time.Millisecond})
	p.refused(p.function("registry", reg.Host+"/slow"), faas.KindBusy, "being pulled")
	if err := p.store.Close(); err != nil {
		t.Error(err)
	}
	p.refused(p.function("registry", reg.Host+"/slow"), faas.KindUnavailable, "stopping")
	p.nothingLeft()
}

func TestPlainHTTPIsForThisMachineOnly(t *testing.T) {
	p := newPlaceWith(t, image.Options{Registry: hasty})
	// An address of documentation (RFC 5737) that nothing is sent to: the
	// redirect is refused.
	reg := imagetest.Serve(t, (&faulty{on: "/manifests/", fault: status(307, "Location", "http://192.0.2.1/x")}).wrap)
	p.refused(p.function("registry", reg.Host+"/x"), faas.KindInvalid, `"192.0.2.1" does not speak TLS`)
}
