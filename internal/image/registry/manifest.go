package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/unifaas/unifaas/internal/faas"
)

// MaxManifest bounds a manifest, in bytes, as registries do.
const MaxManifest = 4 << 20

// A Manifest is a manifest or an index as the registry has it.
type Manifest struct {
	Body      []byte
	MediaType string
	Digest    string // "sha256:..." of Body
}

// Manifest fetches the manifest or index by its tag or digest. What is asked
// for by digest has that digest.
func (r *Repository) Manifest(ctx context.Context, tagOrDigest string) (*Manifest, error) {
	what := "manifest " + tagOrDigest
	accept := []string{
		string(types.OCIImageIndex), string(types.DockerManifestList),
		string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
	}
	resp, err := r.get(ctx, r.url("manifests", tagOrDigest), http.Header{"Accept": {strings.Join(accept, ", ")}})
	if err != nil {
		return nil, explain(err, r.name, what)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err != nil {
		return nil, explain(err, r.name, what)
	}
	if len(body) > MaxManifest {
		return nil, faas.Errorf(faas.KindInvalid, "%s of %q is over %d bytes", what, r.name.Name(), MaxManifest)
	}
	sum := sha256.Sum256(body)
	m := &Manifest{body, resp.Header.Get("Content-Type"), "sha256:" + hex.EncodeToString(sum[:])}
	want := resp.Header.Get("Docker-Content-Digest")
	if strings.Contains(tagOrDigest, ":") {
		want = tagOrDigest
	}
	if want != "" && want != m.Digest {
		return nil, faas.Errorf(faas.KindInvalid, "%s of %q has the wrong digest: %s instead of %s", what, r.name.Name(), m.Digest, want)
	}
	return m, nil
}

// Reader returns a reader of the body; to close it is of no effect.
func (m *Manifest) Reader() io.ReadCloser { return io.NopCloser(bytes.NewReader(m.Body)) }
