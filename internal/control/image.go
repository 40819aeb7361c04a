package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Image is a line of `unifaas image list`.
type Image struct {
	Source    string    `json:"source,omitempty"` // a reference in full, "file:...", ...; "" when nobody knows any more
	Digest    string    `json:"digest"`
	Pulled    time.Time `json:"pulled,omitzero"`     // when a registry was asked last
	Size      int64     `json:"size_bytes"`          // of its files
	Unique    int64     `json:"unique_bytes"`        // that no other image shares
	Functions []string  `json:"functions,omitempty"` // that use it
}

// PrunedImages is what `unifaas image prune` removed.
type PrunedImages struct {
	References []string `json:"references"` // of registries, in full
	Trees      int      `json:"root_file_systems"`
	Files      int      `json:"files"`
	Bytes      int64    `json:"bytes"`
}

// Images is the platform's image store. It is implemented by image.Store, in
// other words.
type Images interface {
	Images(ctx context.Context) ([]Image, error)
	// PullImage asks a registry what a reference means now. It returns when the
	// image is in the store.
	PullImage(ctx context.Context, reference string) (Image, error)
	// PruneImages removes images that no function uses; with all also those
	// that were pulled by PullImage.
	PruneImages(ctx context.Context, all bool) (PrunedImages, error)
}

func (s *Server) imageRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/images", func(w http.ResponseWriter, r *http.Request) {
		list, err := s.backend.Images(r.Context())
		s.answer(w, list, err)
	})
	mux.HandleFunc("POST /v1/images/pull", func(w http.ResponseWriter, r *http.Request) {
		img, err := s.backend.PullImage(r.Context(), r.FormValue("reference"))
		s.answer(w, img, err)
	})
	mux.HandleFunc("POST /v1/images/prune", func(w http.ResponseWriter, r *http.Request) {
		pruned, err := s.backend.PruneImages(r.Context(), r.FormValue("all") == "1")
		s.answer(w, pruned, err)
	})
}

// Running reports whether there is a platform to talk to. An error that it may
// not be talked to counts as one: the next call tells.
func (c *Client) Running(ctx context.Context) bool {
	conn, err := c.dial(ctx, "", "")
	if err == nil {
		conn.Close()
	}
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED)
}

// Images lists the images.
func (c *Client) Images(ctx context.Context) (list []Image, err error) {
	return list, c.get(ctx, "/v1/images", &list)
}

// PullImage has the platform pull an image.
func (c *Client) PullImage(ctx context.Context, reference string) (img Image, err error) {
	return img, c.post(ctx, "/v1/images/pull", url.Values{"reference": {reference}}, &img)
}

// PruneImages has the platform remove images that are not needed.
func (c *Client) PruneImages(ctx context.Context, all bool) (pruned PrunedImages, err error) {
	query := url.Values{}
	if all {
		query.Set("all", "1")
	}
	return pruned, c.post(ctx, "/v1/images/prune", query, &pruned)
}

func (c *Client) post(ctx context.Context, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://unifaas"+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("decode answer of the platform: %w", err)
	}
	return nil
}
