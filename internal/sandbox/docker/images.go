package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/archive"
)

// images gets revisions' images into Docker's store. What comes from our own
// store is imported there under a name of its content:
// unifaas/NODE:IMAGEDIGEST. Its methods may be called concurrently.
type images struct {
	engine *engine
	node   string

	mu     sync.Mutex
	making map[string]*sync.Mutex // by what is made: an image is made by one at a time
	wanted map[string]time.Time   // when an imported image was last wanted, by tag
}

func newImages(e *engine, node string) *images {
	return &images{engine: e, node: node, making: map[string]*sync.Mutex{}, wanted: map[string]time.Time{}}
}

// repository is the name of all images that we have imported.
func (s *images) repository() string { return "unifaas/" + s.node }

// tag returns the tag of an image of ours.
func tag(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// ensure returns rev's image, which is in Docker's store afterwards.
func (s *images) ensure(ctx context.Context, rev *faas.Revision) (client.ImageInspectResult, error) {
	key := rev.Image.Digest
	if rev.Image.Rootfs == "" {
		key = keptName(rev)
	}
	lock := s.lock(key)
	lock.Lock()
	defer lock.Unlock()
	if rev.Image.Rootfs == "" {
		return s.kept(ctx, rev)
	}
	return s.imported(ctx, rev.Image)
}

func (s *images) lock(key string) *sync.Mutex {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.making[key] == nil {
		s.making[key] = &sync.Mutex{}
	}
	return s.making[key]
}

// imported returns the copy of one of our images in Docker's store.
func (s *images) imported(ctx context.Context, img faas.Image) (client.ImageInspectResult, error) {
	s.mu.Lock()
	s.wanted[tag(img.Digest)] = time.Now()
	s.mu.Unlock()
	ref := s.repository() + ":" + tag(img.Digest)
	found, err := s.engine.ImageInspect(ctx, ref)
	if err == nil || !errdefs.IsNotFound(err) {
		return found, err
	}
	// Its ID is known without asking for it by a name that a prune may have
	// taken away again.
	if found.ID, err = s.send(ctx, img.Rootfs, ref); err != nil {
		return found, fmt.Errorf("import image into Docker's store: %w", err)
	}
	return found, nil
}

// send streams a root file system to the Engine, which names the image only
// when all of it has come, and returns the image's ID.
func (s *images) send(ctx context.Context, rootfs, ref string) (id string, err error) {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := archive.Tar(ctx, w, rootfs, archive.Options{})
		_ = w.CloseWithError(err) // nil ends the stream
		written <- err
	}()
	answer, err := s.engine.ImageImport(ctx, client.ImageImportSource{Source: r, SourceName: "-"}, ref, client.ImageImportOptions{
		Message: "imported by unifaas", Changes: []string{"LABEL " + nodeLabel + "=" + s.node},
	})
	if err == nil {
		id, err = lastStatus(answer)
	}
	_ = r.CloseWithError(errors.New("the Engine has stopped reading"))
	if told := <-written; err == nil || told != nil && !away(err) {
		err = errors.Join(told, err)
	}
	return id, err
}

// lastStatus reads an answer of the Engine to its end, which may tell of a
// failure, and returns what it says last.
func lastStatus(answer io.ReadCloser) (status string, err error) {
	defer func() { _ = answer.Close() }()
	err = eachMessage(answer, func(m *jsonstream.Message) error {
		if m.Error != nil {
			return errors.New(m.Error.Message)
		}
		status = m.Status
		return nil
	})
	return status, err
}

// prune removes the images of ours that are not for one of keep and have not
// been wanted for grace.
func (s *images) prune(ctx context.Context, keep []faas.Image, grace time.Duration) error {
	kept := map[string]bool{}
	for _, img := range keep {
		kept[tag(img.Digest)] = true
	}
	list, err := s.engine.ImageList(ctx, client.ImageListOptions{
		Filters: make(client.Filters).Add("label", nodeLabel+"="+s.node),
	})
	if away(err) {
		return nil // then nothing of ours grows there either
	}
	errs := []error{err}
	for _, img := range list.Items {
		for _, name := range img.RepoTags {
			t, ours := strings.CutPrefix(name, s.repository()+":")
			if !ours || kept[t] || s.wantedSince(t, time.Unix(img.Created, 0), grace) {
				continue
			}
			_, err := s.engine.ImageRemove(ctx, name, client.ImageRemoveOptions{PruneChildren: true})
			if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) { // in use: the next time
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// wantedSince reports whether an image was made or wanted less than grace ago.
func (s *images) wantedSince(tag string, made time.Time, grace time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := slices.MaxFunc([]time.Time{made, s.wanted[tag]}, time.Time.Compare)
	return time.Since(last) < grace
}
