package vm_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel/kerneltest"
	"github.com/unifaas/unifaas/internal/oci"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

// newGuest is a rig of the suite's own function.
func newGuest(t *testing.T, monitor string) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, linux.Name, sandboxtest.NotRoot{What: "make networks of machines"})
	}
	kernels := kerneltest.Dir(t, linux.Name)
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	for _, dir := range oci.MountPoints() {
		if err := os.MkdirAll(filepath.Join(rootfs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(rootfs, "guest"), "github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest/cmd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the function: %v\n%s", err, out)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(t.Name())))
	rev := &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("f"), Sandbox: linux.Name, Command: []string{"/guest"}, Port: 8080, Limits: faas.Limits{Memory: 128 << 20}},
		Image:    faas.Image{Digest: digest, Rootfs: rootfs},
		Digest:   digest,
	}
	return newRig(t, rev, func(host sandbox.Host) sandbox.Driver { return newLinux(kernels, monitor)(t, host) })
}

// TestMachineReachesNothing tries what a function could reach by the interface
// that it has: the host by each of its addresses, the gateway, another instance
// and the world.
func TestMachineReachesNothing(t *testing.T) {
	r := newGuest(t, "qemu-microvm")
	first, second := r.start("1"), r.start("2")
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	targets := []string{
		"172.31.255.1:" + port, "172.31.255.1:22", "172.31.255.1:3000", "172.31.255.6:8080", "192.0.2.1:80", "169.254.169.254:80",
		"[fe80::455:46ff:fe00:1%25eth0]:" + port, "[::1]:" + port,
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			targets = append(targets, net.JoinHostPort(ip.IP.String(), port))
		}
	}
	for _, target := range targets {
		if result := r.dial(first, target); result.Error == "" {
			t.Errorf("the instance reached %s", target)
		}
	}
	// The port where the first process of its guest reports is open to that
	// alone: who comes from an ordinary port is hung up on, and is not heard.
	if result := r.dial(first, "172.31.255.1:1"); result.Error != "" && !strings.Contains(result.Error, "reset") {
		t.Logf("the control port: %s", result.Error)
	}
	for _, i := range []sandbox.Instance{first, second} {
		if result := r.dial(i, "172.31.255.2:8080"); result.Error != "" {
			t.Errorf("the instance can't reach itself: %s", result.Error)
		}
	}
}

func (r *rig) dial(i sandbox.Instance, target string) (result guest.Result) {
	r.Helper()
	text := r.ask(i, "/dial?network=tcp&addr="+url.QueryEscape(target))
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		r.Fatalf("dial %s: %v: %s", target, err, text)
	}
	return result
}
