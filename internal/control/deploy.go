package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"time"

	"github.com/unifaas/unifaas/internal/deploy"
	"github.com/unifaas/unifaas/internal/faas"
)

// A Deployer changes what is deployed. It is implemented by deploy.Deployer.
type Deployer interface {
	Deploy(ctx context.Context, r deploy.Request) (*deploy.Outcome, error)
	Rollback(ctx context.Context, name string, try bool) (*deploy.Outcome, error)
	Delete(ctx context.Context, name string, wait bool) error
}

// A deploy is sent as multipart/form-data (RFC 7578) of two parts: what is
// asked for, as JSON, and the bundle, as a tar.
const (
	requestPart = "request"
	bundlePart  = "bundle"
)

const (
	// maxRequest bounds the JSON of a deploy, in bytes.
	maxRequest = 1 << 20
	// stall is how long an upload may stand still.
	stall = time.Minute
	// discardTime bounds how long the rest of an upload is read that has been
	// refused: a client that still writes would not see the answer.
	discardTime = 30 * time.Second
)

// deployRequest is the JSON of a deploy.
type deployRequest struct {
	Overrides deploy.Overrides `json:"overrides"`
	Source    string           `json:"source"`
	File      string           `json:"file"`
	Try       bool             `json:"try"`
}

func (s *Server) deployRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/functions/{name}/deploy", s.deploy)
	mux.HandleFunc("POST /v1/functions/{name}/rollback", func(w http.ResponseWriter, r *http.Request) {
		out, err := s.backend.Rollback(r.Context(), r.PathValue("name"), r.FormValue("wait") == "1")
		s.answer(w, out, err)
	})
	mux.HandleFunc("DELETE /v1/functions/{name}", func(w http.ResponseWriter, r *http.Request) {
		err := s.backend.Delete(r.Context(), r.PathValue("name"), r.FormValue("wait") == "1")
		s.answer(w, struct{}{}, err)
	})
}

func (s *Server) deploy(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	body := &impatient{r: r.Body, setDeadline: control.SetReadDeadline}
	request, err := parseDeploy(r, body)
	var out *deploy.Outcome
	if err == nil {
		out, err = s.backend.Deploy(r.Context(), *request)
	}
	_ = control.SetReadDeadline(time.Now().Add(discardTime))
	_, _ = io.Copy(io.Discard, r.Body)
	_ = control.SetReadDeadline(time.Time{})
	s.answer(w, out, err)
}

// impatient is a reader that fails when nothing comes for long. At its end
// there is no deadline any more: the server goes on to read then, in order to
// see whether the client is still there.
type impatient struct {
	r           io.Reader
	setDeadline func(time.Time) error
}

func (i *impatient) Read(b []byte) (int, error) {
	_ = i.setDeadline(time.Now().Add(stall))
	n, err := i.r.Read(b)
	if err != nil {
		_ = i.setDeadline(time.Time{})
	}
	return n, err
}

// parseDeploy reads a deploy up to its bundle, which is read by whoever gets
// the result.
func parseDeploy(r *http.Request, body io.Reader) (*deploy.Request, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, faas.Errorf(faas.KindInvalid, "a deploy must be sent as multipart/form-data")
	}
	parts := multipart.NewReader(body, params["boundary"])
	part, err := nextPart(parts, requestPart)
	if err != nil {
		return nil, err
	}
	var asked deployRequest
	decoder := json.NewDecoder(io.LimitReader(part, maxRequest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "decode request of the deploy: %w", err)
	}
	bundle, err := nextPart(parts, bundlePart)
	if err != nil {
		return nil, err
	}
	return &deploy.Request{
		Name: r.PathValue("name"), Overrides: asked.Overrides, Source: asked.Source, File: asked.File, Try: asked.Try,
		Bundle: &toTheEnd{bundle, parts, body},
	}, nil
}

func nextPart(parts *multipart.Reader, name string) (*multipart.Part, error) {
	part, err := parts.NextRawPart()
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "the deploy has no part %q: %w", name, err)
	}
	if part.FormName() != name {
		return nil, faas.Errorf(faas.KindInvalid, "the deploy has the part %q where %q must be", part.FormName(), name)
	}
	return part, nil
}

// toTheEnd is the last part of an upload. Its end is that of the whole: only
// a request that has been read entirely shows that its client has gone.
type toTheEnd struct {
	part  *multipart.Part
	parts *multipart.Reader
	body  io.Reader
}

func (t *toTheEnd) Read(b []byte) (int, error) {
	n, err := t.part.Read(b)
	if errors.Is(err, io.EOF) {
		if _, err := t.parts.NextRawPart(); !errors.Is(err, io.EOF) {
			return n, faas.Errorf(faas.KindInvalid, "something follows the bundle")
		}
		_, _ = io.CopyN(io.Discard, t.body, maxRequest)
	}
	return n, err
}

// Deploy sends a deploy; see deploy.Deployer. It reads r.Bundle to its end
// unless the platform refuses it before.
func (c *Client) Deploy(ctx context.Context, r deploy.Request) (out *deploy.Outcome, err error) {
	reader, writer := io.Pipe()
	defer func() { _ = reader.Close() }() // never fails
	form := multipart.NewWriter(writer)
	local := make(chan error, 1)
	go func() {
		err := writeDeploy(form, r)
		local <- err
		writer.CloseWithError(err)
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://unifaas/v1/functions/"+url.PathEscape(r.Name)+"/deploy", reader)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	err = c.decode(req, &out)
	select {
	case own := <-local:
		if own != nil && !errors.Is(own, io.ErrClosedPipe) {
			return nil, own // what could not be read here, not that it broke off there
		}
	default:
	}
	return out, err
}

func writeDeploy(form *multipart.Writer, r deploy.Request) error {
	part, err := form.CreateFormField(requestPart)
	if err != nil {
		return err
	}
	err = json.NewEncoder(part).Encode(deployRequest{Overrides: r.Overrides, Source: r.Source, File: r.File, Try: r.Try})
	if err != nil {
		return err
	}
	if part, err = form.CreateFormField(bundlePart); err != nil {
		return err
	}
	if _, err := io.Copy(part, r.Bundle); err != nil {
		return err
	}
	return form.Close()
}

// Rollback has the previous deployment of a function served again.
func (c *Client) Rollback(ctx context.Context, name string, try bool) (out *deploy.Outcome, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://unifaas/v1/functions/"+url.PathEscape(name)+"/rollback?"+wait(try), nil)
	if err != nil {
		return nil, err
	}
	return out, c.decode(req, &out)
}

// Delete forgets a deployed function.
func (c *Client) Delete(ctx context.Context, name string, drained bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, "http://unifaas/v1/functions/"+url.PathEscape(name)+"?"+wait(drained), nil)
	if err != nil {
		return err
	}
	return c.decode(req, &struct{}{})
}

func wait(yes bool) string {
	if yes {
		return "wait=1"
	}
	return ""
}

func (c *Client) decode(req *http.Request, into any) error {
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

// An OutputError is an error with what the function concerned printed last.
type OutputError struct {
	Err  error
	Text string
}

func (e *OutputError) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *OutputError) Unwrap() error { return e.Err }

// Output returns what the function printed.
func (e *OutputError) Output() string { return e.Text }

// outputOf returns what the function printed that err is about.
func outputOf(err error) string {
	var e interface{ Output() string }
	if errors.As(err, &e) {
		return e.Output()
	}
	return ""
}
