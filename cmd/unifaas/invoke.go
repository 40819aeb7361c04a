package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
)

type invokeCmd struct {
	Function string   `arg:"" help:"The function."`
	Path     string   `arg:"" optional:"" default:"/" help:"Path and query, for instance /fib?n=20."`
	Method   string   `short:"X" help:"HTTP method. Default: GET, or POST with --data."`
	Data     string   `short:"d" help:"Request body; @FILE reads a file, @- standard input."`
	Header   []string `short:"H" placeholder:"NAME: VALUE" sep:"none" help:"Request header; may be repeated."`
	Include  bool     `short:"i" help:"Print the response's status and headers too."`
	output
}

// Run sends the request through the gateway, as any client would.
func (c *invokeCmd) Run(e *env) error {
	status, err := e.client().Status(e.ctx)
	if err != nil {
		return err
	}
	req, err := c.request(e, status.Gateway)
	if err != nil {
		return err
	}
	// Neither a proxy nor redirects: the response is the function's own.
	client := http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("invoke %q: %w", c.Function, err)
	}
	defer resp.Body.Close()
	if c.JSON {
		return c.printJSON(e, resp)
	}
	if c.Include {
		fmt.Fprintf(e.stdout, "%s %s\n", resp.Proto, resp.Status)
		if err := resp.Header.Write(e.stdout); err != nil {
			return err
		}
		fmt.Fprintln(e.stdout)
	}
	if _, err := io.Copy(e.stdout, resp.Body); err != nil {
		return fmt.Errorf("read response of %q: %w", c.Function, err)
	}
	return statusError(resp.StatusCode)
}

func (c *invokeCmd) request(e *env, gateway string) (*http.Request, error) {
	method := c.Method
	body, err := c.body(e)
	if err != nil {
		return nil, err
	}
	if method == "" {
		method = http.MethodGet
		if c.Data != "" {
			method = http.MethodPost
		}
	}
	url := "http://" + gateway + "/invoke/" + c.Function + "/" + strings.TrimPrefix(c.Path, "/")
	req, err := http.NewRequestWithContext(e.ctx, method, url, body)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "make request: %w", err)
	}
	for _, h := range c.Header {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, faas.Errorf(faas.KindInvalid, "header %q: write NAME: VALUE", h)
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if strings.EqualFold(name, "Host") {
			req.Host = value
		}
		req.Header.Add(name, value)
	}
	return req, nil
}

func (c *invokeCmd) body(e *env) (io.Reader, error) {
	switch name, isFile := strings.CutPrefix(c.Data, "@"); {
	case c.Data == "":
		return http.NoBody, nil
	case !isFile:
		return strings.NewReader(c.Data), nil
	case name == "-":
		return e.stdin, nil
	default:
		file, err := os.Open(name)
		if err != nil {
			return nil, faas.Errorf(faas.KindInvalid, "read --data: %w", err)
		}
		return file, nil // the client closes it with the request
	}
}

func (c *invokeCmd) printJSON(e *env, resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read response of %q: %w", c.Function, err)
	}
	v := map[string]any{"status": resp.StatusCode, "header": resp.Header, "body": string(body)}
	if err := c.print(e.stdout, v, nil); err != nil {
		return err
	}
	return statusError(resp.StatusCode)
}

// statusError makes the exit code tell what the status told.
func statusError(status int) error {
	kinds := map[int]faas.Kind{
		400: faas.KindInvalid, 404: faas.KindNotFound, 413: faas.KindTooLarge, 414: faas.KindTooLarge, 431: faas.KindTooLarge, 429: faas.KindBusy,
		502: faas.KindBroken, 503: faas.KindUnavailable, 504: faas.KindTimeout,
	}
	if status < 400 {
		return nil
	}
	if kind, ok := kinds[status]; ok {
		return errQuiet{kind}
	}
	return errQuiet{faas.KindInternal}
}
