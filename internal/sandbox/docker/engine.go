package docker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/faas"
)

const (
	// callTimeout bounds one call to the Engine that takes an instant when the
	// machine is not overloaded.
	callTimeout = 30 * time.Second
	// tryAgain is what a caller is told when the Engine is away.
	tryAgain = 2 * time.Second
)

// An engine is the connection to a Docker Engine.
type engine struct {
	*client.Client
	address string
}

// connect makes a client for the Engine at address; "" is that of the
// environment's DOCKER_HOST, or else Docker's default. It does not call it.
func connect(address string) (*engine, error) {
	if address == "" {
		address = os.Getenv(client.EnvOverrideHost)
	}
	if address == "" {
		address = client.DefaultDockerHost
	}
	// A connection for each call: they cost little over a unix socket, and a
	// kept one would break the first call after a restart of the Engine.
	transport := &http.Transport{
		DisableKeepAlives: true,
		// No HTTP/2: setting up for it makes the client take the Engine for
		// one that speaks TLS.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	api, err := client.New(
		client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}),
		client.WithTLSClientConfigFromEnv(), client.WithHost(address))
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "address %q of the Docker Engine: %w", address, err)
	}
	return &engine{Client: api, address: address}, nil
}

// away reports whether err says that the Engine can't be asked, or broke off
// its answer.
func away(err error) bool {
	if client.IsErrConnectionFailed(err) {
		return true
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return true // by a connection that is not for one answer
	}
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

// explain gives an error of the Engine its kind and, where there is one, its
// remedy. doing says what it stood against.
func (e *engine) explain(err error, doing string) error {
	var told *faas.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", doing, err)
	case away(err):
		reason, remedy := diagnose(err)
		return &faas.Error{
			Kind: faas.KindUnavailable, RetryAfter: tryAgain, Err: err,
			Message: fmt.Sprintf("%s: the Docker Engine at %s %s; %s", doing, e.address, reason, remedy),
		}
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// diagnose says in words why the Engine can't be asked, and what would help.
// The client drops the cause of a refusal and keeps its words only.
func diagnose(err error) (reason, remedy string) {
	if strings.Contains(err.Error(), "permission denied") {
		return "refuses this user", "run as root, or add the user to the group docker"
	}
	return "does not answer", "start dockerd, or set DOCKER_HOST"
}

// bounded returns a context for a call that must not be broken off when ctx
// ends, since nobody would know what came of it.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
}
