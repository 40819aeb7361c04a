package catalog

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
)

var (
	hostRE    = regexp.MustCompile(`^(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?$`)
	runtimeRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	// referenceRE is a loose form of an image reference's grammar
	// (github.com/distribution/reference): it catches slips, the registry
	// decides.
	referenceRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[A-Za-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@[a-z0-9+._-]+:[0-9a-fA-F]{32,})?$`)
)

var imageSchemes = []string{"file", "dir", "oci", "docker-archive"}

// nativeImage reads the key image. A file without a slash keeps its bare name:
// it is looked up in the function's folder, then in PATH, when it is resolved.
func nativeImage(t *table, opts DecodeOptions) faas.ImageSource {
	s := t.str("image", "")
	if s == "" {
		if _, wrong := t.values["image"]; !wrong {
			t.doc.problem("", `key "image" is missing; write for instance image = "file:./server"`)
		} else if _, ok := t.values["image"].(string); ok {
			t.problem("image", `image is empty; write for instance "file:./server"`)
		}
		return faas.ImageSource{}
	}
	scheme, location, found := strings.Cut(s, ":")
	if found && contains(imageSchemes, scheme) {
		switch {
		case location == "":
			t.problem("image", "image = %q names no path", s)
		case scheme == "file" && !strings.Contains(location, "/"):
		default:
			location = opts.absolute(location)
		}
		return faas.ImageSource{Scheme: scheme, Location: location}
	}
	if !referenceRE.MatchString(s) {
		t.problem("image", "image = %q is neither a registry reference nor begins with %s:%s",
			s, strings.Join(imageSchemes, ":, "), suggest(scheme, imageSchemes))
	}
	return faas.ImageSource{Scheme: "registry", Location: s}
}

func nativeReady(t *table) faas.Ready {
	switch s := t.str("ready", "port"); {
	case s == "port":
	case s == "callback":
		return faas.Ready{Kind: faas.ReadyCallback}
	case strings.HasPrefix(s, "http:"):
		return faas.Ready{Kind: faas.ReadyHTTP, Path: httpPath(t, "ready", s, "")}
	default:
		t.problem("ready", `ready = %q is none of "port", "callback" and "http:/path"%s`, s,
			suggest(s, []string{"port", "callback", "http:/"}))
	}
	return faas.Ready{Kind: faas.ReadyPort}
}

// nativeHealth reads the key health. Where it is absent, a unikernel is asked
// for a connection: when its kernel dies nothing on the host ends.
func nativeHealth(t *table, sandbox string) string {
	standard := ""
	if isUnikernel(sandbox) {
		standard = faas.HealthTCP
	}
	switch s := t.str("health", standard); s {
	case "", "none":
		return ""
	case faas.HealthTCP:
		return s
	default:
		return httpPath(t, "health", s, `; or "tcp", or "none"`)
	}
}

// httpPath returns the path in "http:/path"; others is what else key may be,
// for the message.
func httpPath(t *table, key, s, others string) string {
	p, ok := strings.CutPrefix(s, "http:")
	valid := ok && strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "//")
	for _, c := range []byte(p) {
		// It goes into a request line as it is.
		valid = valid && c > ' ' && c < 0x7f && c != '#'
	}
	if !valid {
		t.problem(key, `%s = %q must be "http:" and a path, for instance "http:/healthz"%s`, key, s, others)
		return ""
	}
	return p
}

// nativeRuntime reads the key runtime: a name, or the path of an executable,
// which checkNative allows where there is something to execute.
func nativeRuntime(t *table) string {
	s := t.str("runtime", defaultRuntime)
	switch {
	case runtimeRE.MatchString(s):
	case !isPath(s):
		t.problem("runtime", "runtime = %q is no name of a runtime", s)
	case !path.IsAbs(s) || path.Clean(s) != s || s == "/" || strings.ContainsRune(s, 0):
		t.problem("runtime", `runtime = %q must be a name or an absolute path without "." and "..", for instance "/usr/bin/crun"`, s)
	}
	return s
}

// isPath tells a runtime's path from a name.
func isPath(runtime string) bool { return strings.Contains(runtime, "/") }

func nativeEgress(t *table) []string {
	list := t.strings("egress")
	for i, s := range list {
		if !validEgress(s) {
			t.problem(join("egress", fmt.Sprint(i)), `egress[%d] = %q is no CIDR, address, host name or "internet"`, i, s)
		}
	}
	return list
}

func validEgress(s string) bool {
	if s == "internet" {
		return true
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	// What looks like an address but is none ("10.0.0.300") is no name.
	return len(s) <= 253 && hostRE.MatchString(s) && strings.Trim(s, "0123456789.") != ""
}

func nativeFiles(t *table, opts DecodeOptions) map[string]string {
	files := t.stringMap("files", checkFile)
	for inside, outside := range files {
		files[inside] = opts.absolute(outside)
	}
	return files
}

func checkFile(inside, outside string) string {
	switch {
	case !strings.HasPrefix(inside, "/") || path.Clean(inside) != inside || inside == "/":
		return fmt.Sprintf(`files: %q must be an absolute path inside the image other than "/", without "." and ".."`, inside)
	case below(inside, "/proc") || below(inside, "/sys") || below(inside, "/dev"):
		return fmt.Sprintf("files: %q is where the sandbox mounts its own", inside)
	case strings.ContainsRune(inside, 0):
		return fmt.Sprintf("files: %q holds a NUL byte", inside)
	case outside == "":
		return fmt.Sprintf("files: %q names no file outside", inside)
	}
	return ""
}

func below(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func checkEnv(name, _ string) string {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Sprintf(`env: %q is no name of a variable: it is empty or holds "="`, name)
	}
	return ""
}

func checkLabel(name, _ string) string {
	if name == "" {
		return "labels: a label needs a name"
	}
	return ""
}
