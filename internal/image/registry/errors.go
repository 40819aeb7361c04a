package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/unifaas/unifaas/internal/faas"
)

// explain turns what went wrong with what ("" for the sign-in) of a repository
// into an error with a kind and a remedy.
func explain(err error, repo name.Repository, what string) error {
	registry := repo.RegistryStr()
	var own *faas.Error
	if errors.As(err, &own) {
		return own
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		return explainStatus(answer, repo, what)
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return faas.Errorf(faas.KindInvalid, "registry %q has a certificate that this machine does not trust: %w", registry, certificate)
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err // the address says nothing more, and may hold a signature
	}
	return faas.Errorf(faas.KindBusy, "registry %q can't be reached: %w", registry, err)
}

func explainStatus(answer *transport.Error, repo name.Repository, what string) error {
	registry := repo.RegistryStr()
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return faas.Errorf(faas.KindInvalid,
			"registry %q does not let us read %q (401 Unauthorized); sign in with `docker login %s` as the user of the platform",
			registry, repo.Name(), registry)
	case http.StatusForbidden:
		return faas.Errorf(faas.KindInvalid, "registry %q forbids us to read %q (403 Forbidden); sign in as somebody who may", registry, repo.Name())
	case http.StatusNotFound:
		return faas.Errorf(faas.KindNotFound, "registry %q has no %s in %q (404 Not Found), or hides it from us", registry, what, repo.Name())
	default:
		return faas.Errorf(faas.KindBusy, "registry %q answers %d %s", registry, answer.StatusCode, http.StatusText(answer.StatusCode))
	}
}
