package callback

import (
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// ServeHTTP answers one call: 200 if it was expected from there, 403 if from
// elsewhere, 404 if not at all.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutPrefix(r.URL.Path, readyPath)
	if !ok {
		http.Error(w, "no such page", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "call with GET or POST", http.StatusMethodNotAllowed)
		return
	}
	s.mu.Lock()
	c := s.calls[id]
	s.mu.Unlock()
	if c == nil {
		http.Error(w, "no such instance", http.StatusNotFound)
		return
	}
	if !c.comesFrom(r) {
		s.logger.Warn("a ready callback came from another address than the instance's", "instance", id, "from", r.RemoteAddr)
		http.Error(w, "not from the instance's address", http.StatusForbidden)
		return
	}
	c.came.Do(func() { close(c.done) })
	w.WriteHeader(http.StatusOK)
}

// comesFrom reports whether r comes from the instance. An instance may call
// before whoever started it knows its address.
func (c *Call) comesFrom(r *http.Request) bool {
	timer := time.NewTimer(maxTime)
	defer timer.Stop()
	select {
	case <-c.bound:
	case <-r.Context().Done():
		return false
	case <-timer.C:
		return false
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && remote.Addr().Unmap() == c.from
}
