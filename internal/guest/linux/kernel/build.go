package kernel

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/host/apt"
)

//go:embed small.config
var smallConfig string

// sourcePackage has the sources of Debian's kernel.
const sourcePackage = "linux-source-6.1"

// objects is about how many files the build of our configuration compiles.
const objects = 1250

// tools are what a build runs, and the package of each.
var tools = []struct{ program, pkg string }{
	{"gcc", "gcc"},
	{"make", "make"},
	{"flex", "flex"},
	{"bison", "bison"},
	{"bc", "bc"},
	{"xz", "xz-utils"},
	{"ld", "binutils"},
	{"perl", "perl"},
}

// Progress is told how far a build is: what is done now, and about how many of
// a hundred parts are.
type Progress func(step string, percent int)

// Build builds our small kernel from Debian's sources, unless there is one of
// the same sources and configuration. It takes a dozen minutes of one
// processor and two gigabytes of disk meanwhile.
func (s *Store) Build(ctx context.Context, progress Progress) (*Kernel, error) {
	k, err := s.build(ctx, progress)
	if err != nil {
		return nil, fmt.Errorf("build our kernel: %w", err)
	}
	return k, nil
}

func (s *Store) build(ctx context.Context, progress Progress) (*Kernel, error) {
	if err := checkTools(); err != nil {
		return nil, err
	}
	version, err := apt.Version(ctx, sourcePackage)
	if err != nil {
		return nil, err
	}
	unlock, err := s.lock(ctx, buildWork)
	if err != nil {
		return nil, err
	}
	defer unlock()
	sum := sha256.Sum256([]byte(smallConfig))
	source := fmt.Sprintf("%s %s, configuration %s", sourcePackage, version, hex.EncodeToString(sum[:6]))
	if k, err := s.bySource(source); err != nil || k != nil {
		return k, err
	}
	dir, remove, err := s.workspace(buildWork)
	if err != nil {
		return nil, err
	}
	defer remove()
	b := builder{dir: dir, progress: progress}
	image, err := b.run(ctx)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(image)
	if err != nil {
		return nil, err
	}
	final := filepath.Join(dir, "kernel")
	if err := os.Mkdir(final, 0o755); err != nil {
		return nil, err
	}
	return s.put(final, &Kernel{Kind: KindSmall, Source: source}, data)
}

// checkTools names everything that is missing at once.
func checkTools() error {
	var missing []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, t.pkg)
		}
	}
	if _, err := os.Stat("/usr/include/libelf.h"); err != nil {
		missing = append(missing, "libelf-dev")
	}
	if len(missing) > 0 {
		return fmt.Errorf("packages are missing: apt-get install %s", strings.Join(missing, " "))
	}
	return nil
}

// A builder builds in a folder that the caller removes.
type builder struct {
	dir      string
	progress Progress
	sources  string
}

func (b *builder) tell(step string, percent int) {
	if b.progress != nil {
		b.progress(step, percent)
	}
}

// run returns the path of the kernel.
func (b *builder) run(ctx context.Context) (string, error) {
	b.tell("download "+sourcePackage, 0)
	root := filepath.Join(b.dir, "package")
	if err := apt.Unpack(ctx, sourcePackage, root); err != nil {
		return "", err
	}
	b.tell("unpack the sources", 2)
	b.sources = filepath.Join(b.dir, "sources")
	if err := os.Mkdir(b.sources, 0o755); err != nil {
		return "", err
	}
	archive := filepath.Join(root, "usr", "src", sourcePackage+".tar.xz")
	if err := b.command(ctx, nil, "tar", "-xf", archive, "--strip-components=1"); err != nil {
		return "", fmt.Errorf("unpack the sources: %w", err)
	}
	b.tell("configure", 5)
	if err := b.configure(ctx); err != nil {
		return "", fmt.Errorf("configure: %w", err)
	}
	done := 0
	count := func(line string) {
		if strings.HasPrefix(line, "  CC ") {
			done++
			b.tell("compile", min(6+done*92/objects, 98))
		}
	}
	if err := b.command(ctx, count, "make", "-j"+strconv.Itoa(runtime.NumCPU()), "vmlinux"); err != nil {
		return "", fmt.Errorf("compile: %w", err)
	}
	b.tell("link", 99)
	image := filepath.Join(b.dir, "small")
	return image, b.command(ctx, nil, "strip", "-o", image, "vmlinux")
}

// configure lays our configuration over the kernel's smallest one and checks
// that what it asks for is what comes out.
func (b *builder) configure(ctx context.Context) error {
	if err := b.command(ctx, nil, "make", "tinyconfig"); err != nil {
		return err
	}
	path := filepath.Join(b.sources, ".config")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(smallConfig)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := b.command(ctx, nil, "make", "olddefconfig"); err != nil {
		return err
	}
	config, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if lost := missingLines(smallConfig, string(config)); len(lost) > 0 {
		return fmt.Errorf("the sources do not take %q", lost)
	}
	return nil
}

// missingLines returns the options of want that config does not have as they
// are written. One that is not set may not be mentioned at all.
func missingLines(want, config string) []string {
	have := map[string]bool{}
	for line := range strings.Lines(config) {
		have[strings.TrimSpace(line)] = true
	}
	var lost []string
	for line := range strings.Lines(want) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "CONFIG_") && !have[line] {
			lost = append(lost, line)
		}
		name, off := strings.CutSuffix(strings.TrimPrefix(line, "# "), " is not set")
		if off && (have[name+"=y"] || have[name+"=m"]) {
			lost = append(lost, line)
		}
	}
	return lost
}

// command runs a program in the sources. line is told each line that it
// prints; the last ones are in the error when it fails.
func (b *builder) command(ctx context.Context, line func(string), name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = b.sources
	// Nothing of the user's environment, and no time, makes it into the kernel.
	cmd.Env = append(os.Environ(), "LC_ALL=C", "KBUILD_BUILD_USER=unifaas", "KBUILD_BUILD_HOST=unifaas",
		"KBUILD_BUILD_TIMESTAMP=1970-01-01", "MAKEFLAGS=")
	// make has children, who end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	last := tail(out, line)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, last)
	}
	return nil
}

// tail reads lines and returns the last ones.
func tail(r io.Reader, line func(string)) []byte {
	const most = 4 << 10
	var last []byte
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if line != nil {
			line(lines.Text())
		}
		last = append(append(last, lines.Bytes()...), '\n')
		last = last[max(0, len(last)-most):]
	}
	_, _ = io.Copy(io.Discard, r) // a line of more than a scanner takes
	return bytes.TrimSpace(last)
}
