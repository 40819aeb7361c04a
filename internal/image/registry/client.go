package registry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/unifaas/unifaas/internal/faas"
)

// Options configure a [Client]. The zero value is usable.
type Options struct {
	// Keychain has the credentials; default: Docker's configuration file
	// ($DOCKER_CONFIG/config.json or ~/.docker/config.json) with the helpers it
	// names, else Podman's.
	Keychain authn.Keychain
	// Stall is how long a registry may send nothing; default 30 s.
	Stall time.Duration
	// Attempts is how often a request is made before it counts as failed;
	// default 5.
	Attempts int
	// Backoff is the time before the second attempt, which doubles with each
	// more; default 250 ms.
	Backoff time.Duration
	// MaxWait bounds the time between attempts, also when a registry asks for
	// more by Retry-After: then the request has failed. Default 1 min.
	MaxWait time.Duration
}

func (o *Options) setDefaults() {
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	for _, d := range []struct {
		at  *time.Duration
		def time.Duration
	}{{&o.Stall, 30 * time.Second}, {&o.Backoff, 250 * time.Millisecond}, {&o.MaxWait, time.Minute}} {
		if *d.at <= 0 {
			*d.at = d.def
		}
	}
}

// A Client talks to registries. Its methods may be called concurrently.
type Client struct {
	opts Options
	base *steady
	wire *http.Transport
}

// NewClient returns a client. It connects to nothing yet.
func NewClient(opts Options) *Client {
	opts.setDefaults()
	wire := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: opts.Stall, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: opts.Stall,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     30 * time.Second,
		// A layer is compressed, or not, by what it is; nothing else is to
		// touch it.
		DisableCompression: true,
	}
	return &Client{opts: opts, wire: wire, base: &steady{opts: opts, next: wire}}
}

// Close closes idle connections.
func (c *Client) Close() { c.wire.CloseIdleConnections() }

// A Repository is one repository of a registry that we are signed in to.
type Repository struct {
	client *Client
	name   name.Repository
	http   *http.Client
}

// Repository signs in. The kinds of its errors, as of all here: invalid
// (credentials), not-found, busy (the registry can't be reached, fails, or
// wants us to wait), timeout (it stalls).
func (c *Client) Repository(ctx context.Context, repo name.Repository) (*Repository, error) {
	auth, err := authn.Resolve(ctx, c.opts.Keychain, repo)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "read credentials for %q: %w; look into Docker's config.json and the helper it names", repo.RegistryStr(), err)
	}
	signed, err := transport.NewWithContext(ctx, repo.Registry, auth, c.base, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, explain(err, repo, "")
	}
	return &Repository{client: c, name: repo, http: &http.Client{Transport: signed}}, nil
}

func (r *Repository) url(kind, what string) string {
	// The transport puts in the scheme that the registry answered to.
	return "https://" + r.name.RegistryStr() + "/v2/" + r.name.RepositoryStr() + "/" + kind + "/" + what
}

// get makes a request; the caller closes the body. An answer that is no
// success is an error.
func (r *Repository) get(ctx context.Context, url string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		req.Header[key] = values
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}
