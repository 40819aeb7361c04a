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

// NginxOptions say how nginx is run.
type NginxOptions struct {
	Name     string // of its log
	Dir      string // where it keeps everything it writes; must exist
	Upstream string // the function, host:port
	Port     int    // of 127.0.0.1, where it serves under /invoke/benchmark/
	// SameHeaders has it add the headers that the platform's gateway adds.
	SameHeaders bool
}

// Nginx starts nginx and waits until it serves path.
func Nginx(ctx context.Context, group *proc.Group, o NginxOptions, path string) (*proc.Process, error) {
	exe, err := FindNginx()
	if err != nil {
		return nil, err
	}
	var conf strings.Builder
	err = nginxTemplate.Execute(&conf, struct {
		NginxOptions
		Listen string
	}{o, proc.Local(o.Port)})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(o.Dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "-e", "stderr", "-p", o.Dir, "-c", file, "-g", "daemon off;")
	p, err := group.Start(o.Name, cmd, proc.Options{Grace: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	return p, proc.AwaitHTTP(ctx, p, "http://"+proc.Local(o.Port)+"/invoke/benchmark"+path)
}
