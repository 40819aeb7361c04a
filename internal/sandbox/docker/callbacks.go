package docker

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"syscall"

	"github.com/unifaas/unifaas/internal/callback"
	"github.com/unifaas/unifaas/internal/faas"
)

// callbackPort is where the artefact received callbacks.
const callbackPort = 3000

// callbacks are the servers of ready callbacks: one on each gateway of a
// bridge that there are instances on. Its methods may be called concurrently.
type callbacks struct {
	logger *slog.Logger

	mu      sync.Mutex
	servers map[netip.AddrPort]*callback.Server
	chosen  map[netip.Addr]*callback.Server // for new instances, by gateway
}

func newCallbacks(logger *slog.Logger) *callbacks {
	return &callbacks{
		logger: logger, servers: map[netip.AddrPort]*callback.Server{}, chosen: map[netip.Addr]*callback.Server{},
	}
}

// on returns the server for new instances on gateway's bridge. It is on the
// artefact's port, or, where that is taken (another platform may be on this
// machine), on any: instances are told.
func (c *callbacks) on(gateway netip.Addr) (*callback.Server, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.chosen[gateway]; s != nil {
		return s, nil
	}
	s, err := c.listen(netip.AddrPortFrom(gateway, callbackPort))
	if errors.Is(err, syscall.EADDRINUSE) {
		s, err = c.listen(netip.AddrPortFrom(gateway, 0))
	}
	if err != nil {
		return nil, err
	}
	c.chosen[gateway] = s
	return s, nil
}

// at returns the server on exactly addr, which instances of an earlier run
// were told.
func (c *callbacks) at(addr netip.AddrPort) (*callback.Server, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listen(addr)
}

// listen returns the server on addr. The caller holds mu.
func (c *callbacks) listen(addr netip.AddrPort) (*callback.Server, error) {
	if s := c.servers[addr]; s != nil {
		return s, nil
	}
	s, err := callback.Listen(addr, callback.Options{Logger: c.logger})
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil, faas.Errorf(faas.KindUnavailable,
			"the Docker Engine's bridge with the address %s is not on this machine, or in another network namespace: %w", addr.Addr(), err)
	}
	if err != nil {
		return nil, err
	}
	c.servers[s.Addr()] = s
	return s, nil
}

func (c *callbacks) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range c.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
