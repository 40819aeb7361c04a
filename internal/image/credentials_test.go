package image_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/imagetest"
)

const joe, password = "joe", "secret"

// dockerConfig has the process read text as Docker's configuration file, and
// nobody else's.
func dockerConfig(t *testing.T, text string) {
	t.Helper()
	config := t.TempDir()
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("DOCKER_CONFIG", config)
}

// signedIn is a configuration file with joe's password for a host.
func signedIn(host string) string {
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(joe+":"+password)))
}

// placeOfUser is a place that uses the credentials of Docker's configuration.
func placeOfUser(t *testing.T) *place {
	opts := hasty
	opts.Keychain = nil
	return newPlaceWith(t, image.Options{Registry: opts})
}

func isJoe(r *http.Request) bool {
	user, given, ok := r.BasicAuth()
	return ok && user == joe && given == password
}

// basic is the fault of a registry that wants joe's password.
func basic(_ int64, w http.ResponseWriter, r *http.Request) bool {
	return !isJoe(r) && status(http.StatusUnauthorized, "WWW-Authenticate", `Basic realm="test"`)(0, w, r)
}

// helper puts a program into PATH that knows joe's password for host, and no
// other, in the protocol of Docker's credential helpers: the command is its
// argument, the host comes on standard input, JSON goes to standard output.
// It returns a file with all that it was asked.
func helper(t *testing.T, name, host string) (asked string) {
	t.Helper()
	dir := t.TempDir()
	asked = filepath.Join(dir, "asked")
	script := fmt.Sprintf(`#!/bin/sh
read -r server
echo "$1 $server" >> %q
if [ "$1" = get ] && [ "$server" = %q ]; then
	echo '{"ServerURL":%q,"Username":%q,"Secret":%q}'
else
	echo 'credentials not found in native keychain'
	exit 1
fi
`, asked, host, host, joe, password)
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return asked
}

func TestCredentialHelpers(t *testing.T) {
	for name, config := range map[string]string{
		"for one registry":     `{"credHelpers":{"HOST":"fake"}}`,
		"for all":              `{"credsStore":"fake"}`,
		"one before all":       `{"credsStore":"empty","credHelpers":{"HOST":"fake"}}`,
		"with an empty record": `{"auths":{"HOST":{}},"credsStore":"fake"}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{on: "/v2/", fault: basic}
			reg, other := imagetest.Serve(t, f.wrap), imagetest.Serve(t, f.wrap)
			reg.Push("private", hello(t))
			other.Push("private", hello(t))
			asked := helper(t, "fake", reg.Host)
			helper(t, "empty", "nobody.example")
			dockerConfig(t, strings.ReplaceAll(config, "HOST", reg.Host))
			p := placeOfUser(t)
			p.checkHello(p.resolve(p.function("registry", reg.Host+"/private")))
			if words, err := os.ReadFile(asked); err != nil || !strings.Contains(string(words), "get "+reg.Host+"\n") {
				t.Errorf("the helper was asked %q, %v", words, err)
			}
			p.refused(p.function("registry", other.Host+"/private"), faas.KindInvalid, "docker login "+other.Host)
		})
	}
}

// A helper that is named and can't be used is told by its name.
func TestMissingCredentialHelper(t *testing.T) {
	f := &faulty{on: "/v2/", fault: basic}
	reg := imagetest.Serve(t, f.wrap)
	reg.Push("private", hello(t))
	dockerConfig(t, fmt.Sprintf(`{"credHelpers":{%q:"nowhere"}}`, reg.Host))
	p := placeOfUser(t)
	p.refused(p.function("registry", reg.Host+"/private"), faas.KindInvalid, reg.Host, "docker-credential-nowhere")
	p.nothingLeft()
}

// A tokenServer gives tokens to joe, each for some requests.
type tokenServer struct {
	*httptest.Server
	uses int

	mu     sync.Mutex
	left   map[string]int // token to requests
	scopes []string       // asked for
}

func newTokenServer(t *testing.T, uses int) *tokenServer {
	s := &tokenServer{uses: uses, left: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP implements the token endpoint of the distribution specification's
// authentication by tokens.
func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scopes = append(s.scopes, r.URL.Query()["scope"]...)
	if !isJoe(r) || r.URL.Query().Get("service") != "images" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	token := fmt.Sprint("token-", len(s.left))
	s.left[token] = s.uses
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 60})
}

// realm is where clients are sent. By name: a registry that sends its clients
// to a private address is not believed.
func (s *tokenServer) realm() string {
	return strings.Replace(s.URL, "127.0.0.1", "localhost", 1) + "/token"
}

// bearer is the fault of a registry that wants a token.
func (s *tokenServer) bearer(_ int64, w http.ResponseWriter, r *http.Request) bool {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left[token] > 0 {
		s.left[token]--
		return false
	}
	challenge := fmt.Sprintf(`Bearer realm=%q,service="images",scope="repository:private:pull"`, s.realm())
	return status(http.StatusUnauthorized, "WWW-Authenticate", challenge)(0, w, r)
}

func TestTokens(t *testing.T) {
	for name, uses := range map[string]int{"one for all": 1000, "short-lived": 2} {
		t.Run(name, func(t *testing.T) {
			tokens := newTokenServer(t, uses)
			f := &faulty{on: "/v2/", fault: tokens.bearer}
			reg := imagetest.Serve(t, f.wrap)
			reg.Push("private", hello(t))
			dockerConfig(t, signedIn(reg.Host))
			p := placeOfUser(t)
			p.checkHello(p.resolve(p.function("registry", reg.Host+"/private")))
			for _, scope := range tokens.scopes {
				if scope != "repository:private:pull" {
					t.Errorf("asked for the scope %q", scope)
				}
			}
			if n := len(tokens.left); n == 0 || uses > 100 && n != 1 || uses < 100 && n < 2 {
				t.Errorf("%d tokens were given", n)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		tokens := newTokenServer(t, 1000)
		f := &faulty{on: "/v2/", fault: tokens.bearer}
		reg := imagetest.Serve(t, f.wrap)
		reg.Push("private", hello(t))
		dockerConfig(t, `{}`)
		p := placeOfUser(t)
		p.refused(p.function("registry", reg.Host+"/private"), faas.KindInvalid, "docker login "+reg.Host)
		p.nothingLeft()
	})
}

// TestCredentialsStayWithTheirHost has a registry send its clients elsewhere
// for its blobs, as many do: nobody there is told who the client is.
func TestCredentialsStayWithTheirHost(t *testing.T) {
	for name, elsewhere := range map[string]string{"another port": "127.0.0.1", "another name": "localhost"} {
		for _, way := range []string{"basic", "bearer"} {
			t.Run(name+"/"+way, func(t *testing.T) { redirected(t, elsewhere, way) })
		}
	}
}

func redirected(t *testing.T, elsewhere, way string) {
	wanted := basic
	if way == "bearer" {
		wanted = newTokenServer(t, 1000).bearer
	}
	var told atomic.Int64
	open := &faulty{on: "/", fault: func(_ int64, _ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "" || strings.Contains(r.URL.String(), password) {
			told.Add(1)
		}
		return false
	}}
	store := imagetest.Serve(t, open.wrap)
	store.Push("private", hello(t))
	f := &faulty{on: "/v2/", fault: func(n int64, w http.ResponseWriter, r *http.Request) bool {
		if wanted(n, w, r) {
			return true
		}
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		http.Redirect(w, r, strings.Replace(store.URL, "127.0.0.1", elsewhere, 1)+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}}
	reg := imagetest.Serve(t, f.wrap)
	reg.Push("private", hello(t))
	dockerConfig(t, signedIn(reg.Host))
	p := placeOfUser(t)
	p.checkHello(p.resolve(p.function("registry", reg.Host+"/private")))
	if n := open.count.Load(); n == 0 || told.Load() > 0 {
		t.Errorf("%d of %d requests to another host carry credentials", told.Load(), n)
	}
}
