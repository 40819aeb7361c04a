package image_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/imagetest"
	"github.com/unifaas/unifaas/internal/image/registry"
)

// hasty makes faults show soon.
var hasty = registry.Options{
	Keychain: authn.NewMultiKeychain(), Stall: 300 * time.Millisecond, Attempts: 3, Backoff: time.Millisecond, MaxWait: 50 * time.Millisecond,
}

// A faulty registry passes requests whose path holds on to fault, which may
// answer by itself, and reports whether it did.
type faulty struct {
	on    string
	fault func(n int64, w http.ResponseWriter, r *http.Request) bool
	count atomic.Int64
}

func (f *faulty) wrap(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, f.on) && f.fault(f.count.Add(1), w, r) {
			return
		}
		if c, ok := r.Context().Value(cutKey{}).(int); ok {
			w = &cutting{w, c}
		}
		inner.ServeHTTP(w, r)
	})
}

func status(code int, headers ...string) func(int64, http.ResponseWriter, *http.Request) bool {
	return func(_ int64, w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// twice has a fault the first two times only.
func twice(f func(int64, http.ResponseWriter, *http.Request) bool) func(int64, http.ResponseWriter, *http.Request) bool {
	return func(n int64, w http.ResponseWriter, r *http.Request) bool { return n <= 2 && f(n, w, r) }
}

// cut sends the answer's beginning and closes.
func cut(_ int64, w http.ResponseWriter, _ *http.Request) bool {
	fmt.Fprint(w, "some")
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// A cutting writer closes the connection after so many bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

type cutKey struct{}

func (c *cutting) Write(p []byte) (int, error) {
	if len(p) < c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// cutAfter has the first answer for each path cut.
func cutAfter(bytes int) func(int64, http.ResponseWriter, *http.Request) bool {
	var seen sync.Map // paths; several blobs are pulled at once
	return func(_ int64, _ http.ResponseWriter, r *http.Request) bool {
		if _, again := seen.LoadOrStore(r.URL.Path, true); !again {
			*r = *r.WithContext(context.WithValue(r.Context(), cutKey{}, bytes))
		}
		return false
	}
}

func stall(_ int64, w http.ResponseWriter, r *http.Request) bool {
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	return true
}

func silence(_ int64, _ http.ResponseWriter, r *http.Request) bool {
	<-r.Context().Done()
	return true
}

func TestRegistryFaults(t *testing.T) {
	for name, test := range map[string]struct {
		on    string
		fault func(int64, http.ResponseWriter, *http.Request) bool
		kind  faas.Kind
		want  string // "" for an image
	}{
		"401 at sign-in":       {"/v2/", status(401, "WWW-Authenticate", `Basic realm="x"`), faas.KindInvalid, "docker login"},
		"401":                  {"/manifests/", status(401), faas.KindInvalid, "docker login"},
		"403":                  {"/manifests/", status(403), faas.KindInvalid, "403 Forbidden"},
		"404 of a manifest":    {"/manifests/", status(404), faas.KindNotFound, "no manifest v1"},
		"404 of a blob":        {"/blobs/", status(404), faas.KindNotFound, "no blob sha256:"},
		"429":                  {"/manifests/", status(429), faas.KindBusy, "429 Too Many"},
		"429 for an hour":      {"/blobs/", status(429, "Retry-After", "3600"), faas.KindBusy, "429 Too Many"},
		"429 and then well":    {"/manifests/", twice(status(429, "Retry-After", "0")), 0, ""},
		"500":                  {"/blobs/", status(500), faas.KindBusy, "500 Internal"},
		"500 and then well":    {"/", twice(status(500)), 0, ""},
		"503 and then well":    {"/blobs/", twice(status(503)), 0, ""},
		"418":                  {"/manifests/", status(418), faas.KindBusy, "418"},
		"closes half-way":      {"/blobs/", cut, faas.KindBusy, "broke off after 4 of"},
		"closes at once":       {"/blobs/", func(int64, http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, faas.KindBusy, "can't be reached"},
		"closes, then goes on": {"/blobs/", cutAfter(100), 0, ""},
		"sends nothing":        {"/manifests/", silence, faas.KindTimeout, "sent nothing for 300ms"},
		"stalls in a layer":    {"/blobs/", stall, faas.KindTimeout, "sent nothing for 300ms"},
		"stalls, then goes on": {"/blobs/", twice(stall), 0, ""},
		"no image":             {"/manifests/", func(_ int64, w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "{"); return true }, faas.KindInvalid, "damaged"},
		"wrong blob":           {"/blobs/", func(_ int64, w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "x"); return true }, faas.KindInvalid, "1 bytes of blob"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &faulty{on: test.on, fault: test.fault}
			reg := imagetest.Serve(t, f.wrap)
			reg.Push("a/hello:v1", hello(t))
			p := newPlaceWith(t, image.Options{Registry: hasty})
			fn := p.function("registry", reg.Host+"/a/hello:v1")
			if test.want == "" {
				p.checkHello(p.resolve(fn))
			} else {
				p.refused(fn, test.kind, fn.Image.Location, test.want)
			}
			p.nothingLeft()
		})
	}
}

// retryAfter is how long the registry wants us to wait.
func TestRetryAfterIsPassedOn(t *testing.T) {
	f := &faulty{on: "/manifests/", fault: status(429, "Retry-After", "3600")}
	reg := imagetest.Serve(t, f.wrap)
	p := newPlaceWith(t, image.Options{Registry: hasty})
	_, err := p.store.Resolve(t.Context(), p.function("registry", reg.Host+"/x"))
	var e *faas.Error
	if !errors.As(err, &e) || e.RetryAfter != time.Hour || f.count.Load() != 1 {
		t.Errorf("%v: wait %v after %d requests", err, e.RetryAfter, f.count.Load())
	}
}

// A connection that is cut in the middle of a layer is taken up again where it
// ended, with a registry that knows ranges and with one that does not.
func TestBrokenConnectionIsResumed(t *testing.T) {
	for name, ranges := range map[string]bool{"ranges": true, "no ranges": false} {
		t.Run(name, func(t *testing.T) {
			random := strings.Repeat("0123456789abcdef", 1<<14)
			img := imagetest.Image{Layers: []imagetest.Layer{imagetest.Plain(imagetest.Tar(t, map[string]string{"f": random}, tar.Header{Name: "f"}))}}
			content := img.Layers[0].Packed
			var sent atomic.Int64
			f := &faulty{on: img.Layers[0].Digest, fault: func(_ int64, w http.ResponseWriter, r *http.Request) bool {
				from := 0
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && ranges {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
				} else {
					from = 0
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
				if from > 0 {
					w.WriteHeader(http.StatusPartialContent)
				}
				n := int(sent.Add(100_000)) // each answer gets this far
				if n >= len(content) {
					n = len(content)
				}
				_, _ = w.Write(content[from:max(n, from)])
				if n < len(content) {
					panic(http.ErrAbortHandler)
				}
				return true
			}}
			reg := imagetest.Serve(t, f.wrap)
			reg.Push("r", img)
			opts := hasty
			opts.Attempts = 10
			p := newPlaceWith(t, image.Options{Registry: opts})
			p.has(p.resolve(p.function("registry", reg.Host+"/r")), "f", random)
			if f.count.Load() != 3 {
				t.Errorf("%d requests instead of 3", f.count.Load())
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	f := &faulty{on: "/v2/", fault: basic}
	reg := imagetest.Serve(t, f.wrap)
	reg.Push("private", hello(t))
	dockerConfig(t, "{}")
	p := placeOfUser(t)
	fn := p.function("registry", reg.Host+"/private")
	p.refused(fn, faas.KindInvalid, "docker login "+reg.Host)
	dockerConfig(t, signedIn(reg.Host))
	p.checkHello(p.resolve(fn))
}
