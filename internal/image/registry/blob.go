package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/unifaas/unifaas/internal/faas"
)

// Blob opens a blob of the given size, in bytes. When the connection breaks
// off, reading goes on with another one where it ended. The content is not
// verified. The context bounds reading, too.
func (r *Repository) Blob(ctx context.Context, digest string, size int64) (io.ReadCloser, error) {
	b := &blob{ctx: ctx, repo: r, digest: digest, size: size}
	if err := b.connect(); err != nil {
		return nil, err
	}
	return b, nil
}

// progress is how many bytes make a broken connection forgotten: a registry
// that closes after each byte is not asked for ever.
const progress = 1 << 20

type blob struct {
	ctx      context.Context // a reader's life, as in http.Request
	repo     *Repository
	digest   string
	size     int64
	offset   int64
	body     io.ReadCloser // nil when the connection broke off
	failures int           // since fresh
	fresh    int64         // offset of the last progress
}

// connect asks for what is left of the blob.
func (b *blob) connect() error {
	header := http.Header{}
	if b.offset > 0 {
		// Some registries know only ranges with an end.
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.offset, b.size-1))
	}
	what := "blob " + b.digest
	resp, err := b.repo.get(b.ctx, b.repo.url("blobs", b.digest), header)
	var answer *transport.Error
	if b.offset > 0 && errors.As(err, &answer) && answer.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return faas.Errorf(faas.KindInvalid, "registry %q has a truncated %s: %d of %d bytes", b.repo.name.RegistryStr(), what, b.offset, b.size)
	}
	if err != nil {
		return explain(err, b.repo.name, what)
	}
	if b.offset == 0 && resp.ContentLength >= 0 && resp.ContentLength != b.size {
		resp.Body.Close()
		return faas.Errorf(faas.KindInvalid, "registry %q has %d bytes of %s, which should have %d",
			b.repo.name.RegistryStr(), resp.ContentLength, what, b.size)
	}
	if b.offset == 0 || resp.StatusCode == http.StatusPartialContent &&
		strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.offset)) {
		b.body = resp.Body
		return nil
	}
	// It knows no ranges, and began again.
	if _, err := io.CopyN(io.Discard, resp.Body, b.offset); err != nil {
		return errors.Join(explain(err, b.repo.name, what), resp.Body.Close())
	}
	b.body = resp.Body
	return nil
}

// Read implements [io.Reader]. It never returns more than the blob's size and
// one byte, which shows that there is more.
func (b *blob) Read(p []byte) (int, error) {
	if len(p) == 0 || b.offset > b.size {
		return 0, nil
	}
	if left := b.size + 1 - b.offset; int64(len(p)) > left {
		p = p[:left]
	}
	for {
		if b.body == nil {
			if err := b.connect(); err != nil {
				return 0, err
			}
		}
		n, err := b.body.Read(p)
		b.offset += int64(n)
		if b.offset-b.fresh >= progress {
			b.fresh, b.failures = b.offset, 0
		}
		switch {
		case err == nil:
			return n, nil
		case b.offset >= b.size: // however the connection ended
			return n, io.EOF
		}
		if err := b.broken(err); err != nil || n > 0 {
			return n, err
		}
	}
}

// broken prepares for another connection, or says why there is none.
func (b *blob) broken(err error) error {
	b.body.Close()
	b.body = nil
	if ctxErr := context.Cause(b.ctx); ctxErr != nil {
		return ctxErr
	}
	b.failures++
	if b.failures < b.repo.client.opts.Attempts {
		return sleep(b.ctx, min(b.repo.client.opts.Backoff<<(b.failures-1), b.repo.client.opts.MaxWait))
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return explain(fmt.Errorf("blob %s broke off after %d of %d bytes: %w", b.digest, b.offset, b.size, err), b.repo.name, b.digest)
}

// Close implements [io.Closer].
func (b *blob) Close() error {
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}
