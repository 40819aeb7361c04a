package peers

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/unifaas/unifaas/test/bench/proc"
)

//go:embed nginx.conf.tmpl
var nginxConf string

var nginxTemplate = template.Must(template.New("nginx.conf").Parse(nginxConf))

// FindNginx returns the path of nginx, or an error that says how to get it.
// Debian keeps it where not everybody's PATH leads.
func FindNginx() (string, error) { return find("nginx", "apt-get install nginx-light") }

func find(name, remedy string) (string, error) {
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed; %s", name, remedy)
}

// Nginx starts nginx in front of upstream (host:port), serving on port of
// 127.0.0.1 under /invoke/benchmark/, and waits until it serves path. It keeps
// everything it writes in dir, which must exist.
func Nginx(ctx context.Context, group *proc.Group, dir, upstream string, port int, path string) (*proc.Process, error) {
	exe, err := FindNginx()
	if err != nil {
		return nil, err
	}
	var conf strings.Builder
	err = nginxTemplate.Execute(&conf, struct{ Dir, Upstream, Listen string }{dir, upstream, proc.Local(port)})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "-e", "stderr", "-p", dir, "-c", file, "-g", "daemon off;")
	p, err := group.Start("nginx", cmd, proc.Options{Grace: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	return p, proc.AwaitHTTP(ctx, p, "http://"+proc.Local(port)+"/invoke/benchmark"+path)
}
