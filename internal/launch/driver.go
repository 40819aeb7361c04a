package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

const (
	// probeTimeout bounds a driver's probe.
	probeTimeout = 20 * time.Second
	// probeAgain is how long a bad answer is believed: what stood against the
	// probe may have been a full disk or a process that was killed.
	probeAgain = 5 * time.Second
	// probeQuick is up to which time a probe that fails is made a second time
	// at once: what chance did to the first, it does not do to both.
	probeQuick = 2 * time.Second
)

// driver is a Driver with the answer of its probe. A good answer holds for
// ever.
type driver struct {
	sandbox.Driver
	mu     sync.Mutex
	probed time.Time // zero: not yet
	caps   sandbox.Capabilities
	closed bool
	// known is caps for who can't wait for a probe; nil before the first.
	known atomic.Pointer[sandbox.Capabilities]
}

func (d *driver) capabilities(ctx context.Context) sandbox.Capabilities {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return sandbox.Capabilities{Reason: "the platform is stopping"}
	}
	if d.probed.IsZero() || !d.caps.Works && time.Since(d.probed) > probeAgain {
		// Not under the caller's cancellation: the answer is everybody's.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		begun := time.Now()
		caps := d.Probe(ctx)
		if !caps.Works && time.Since(begun) < probeQuick {
			caps = d.Probe(ctx)
		}
		d.caps, d.probed = caps, time.Now()
		d.known.Store(&caps)
	}
	return d.caps
}

// close waits for a probe under way, allows no other, and gives up what the
// driver keeps beside instances.
func (d *driver) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if c, ok := d.Driver.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Status tells whether one sandbox works here.
type Status struct {
	Name string
	sandbox.Capabilities
}

// Probe asks every driver whether it works here, and returns the answers in
// the order in which the drivers were given, as far as it came before ctx's
// end. A driver that works is probed once.
func (l *Launcher) Probe(ctx context.Context) []Status {
	statuses := make([]Status, 0, len(l.order))
	for _, name := range l.order {
		if ctx.Err() != nil {
			break
		}
		statuses = append(statuses, Status{name, l.drivers[name].capabilities(ctx)})
	}
	return statuses
}

// Sandboxes returns the names of the sandboxes in this build.
func (l *Launcher) Sandboxes() []string { return slices.Clone(l.order) }

// Estimate returns the bytes that an idle instance of rev is expected to
// take before one has been measured, 0 when nothing is known. It starts no
// probe, and waits for none.
func (l *Launcher) Estimate(rev *faas.Revision) int64 {
	name := rev.Function.Sandbox
	for _, candidate := range l.order {
		if name != "auto" && name != candidate {
			continue
		}
		if caps := l.drivers[candidate].known.Load(); caps != nil && caps.Works {
			return caps.MemoryEstimate
		}
	}
	return 0
}

// Detail returns what is known of the sandbox that rev runs in beside its name,
// for people: its version, what executes its guests. It is "" before anybody has
// asked the driver; it starts no probe, and waits for none.
func (l *Launcher) Detail(rev *faas.Revision) string {
	d, ok := l.drivers[rev.Function.Sandbox]
	if !ok {
		return ""
	}
	if caps := d.known.Load(); caps != nil && caps.Works {
		return caps.Detail
	}
	return ""
}

// choose resolves the sandbox "auto": the first driver that is listed.
func (l *Launcher) choose(rev *faas.Revision) string {
	if rev.Function.Sandbox != "auto" || len(l.order) == 0 {
		return rev.Function.Sandbox
	}
	for _, name := range l.order {
		if l.drivers[name].capabilities(context.Background()).Works {
			return name
		}
	}
	return l.order[0]
}

// usable returns the driver of rev when it works here.
func (l *Launcher) usable(ctx context.Context, rev *faas.Revision) (*driver, error) {
	if err := buildable(&rev.Function); err != nil {
		return nil, err
	}
	name := l.choose(rev)
	d, ok := l.drivers[name]
	if !ok {
		return nil, faas.Errorf(faas.KindUnavailable,
			"function %q: sandbox %q is not in this build; use one of %v", rev.Function.Ref, name, l.order)
	}
	caps := d.capabilities(ctx)
	if caps.Works {
		return d, nil
	}
	reason := caps.Reason
	if caps.Remedy != "" {
		reason += "; " + caps.Remedy
	}
	return nil, faas.Errorf(faas.KindUnavailable, "function %q: sandbox %q does not work here: %s", rev.Function.Ref, name, reason)
}

// buildable refuses what function.toml may ask for and no driver can give
// yet: a function that is run without it would not be what its owner wrote.
func buildable(fn *faas.Function) error {
	switch {
	case len(fn.Egress) > 0:
		return faas.Errorf(faas.KindUnavailable, "function %q: egress is not in this build; remove the key to run it without a network", fn.Ref)
	case fn.Ready.Kind == faas.ReadyCallback && fn.Form == faas.Native:
		return faas.Errorf(faas.KindUnavailable, "function %q: ready = \"callback\" is not in this build; use \"port\" or \"http:/path\"", fn.Ref)
	default:
		return nil
	}
}

// artifact is made once, by whoever comes first.
type artifact struct {
	rev   *faas.Revision
	done  chan struct{}
	value sandbox.Artifact
	err   error
	at    time.Time // when it was made; like the rest, valid once done is closed
}

// tried is for how long an artifact stays that is of no revision that is served: it
// may be of one that is being tried.
const tried = time.Hour

func (l *Launcher) prepare(ctx context.Context, d *driver, rev *faas.Revision) (sandbox.Artifact, error) {
	l.mu.Lock()
	a, ok := l.artifacts[rev.Digest]
	if !ok {
		a = &artifact{rev: rev, done: make(chan struct{})}
		l.artifacts[rev.Digest] = a
		// A start that nobody wants any more must not undo the work that
		// the next one needs.
		go l.makeArtifact(context.WithoutCancel(ctx), d, rev, a)
	}
	l.mu.Unlock()
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("prepare function %q: %w", rev.Function.Ref, ctx.Err())
	}
}

func (l *Launcher) makeArtifact(ctx context.Context, d *driver, rev *faas.Revision, a *artifact) {
	defer close(a.done)
	a.value, a.err = d.Prepare(ctx, rev)
	a.at = time.Now()
	if a.err == nil {
		return
	}
	if faas.KindOf(a.err) == faas.KindInternal {
		a.err = fmt.Errorf("prepare function %q for sandbox %q: %w", rev.Function.Ref, d.Name(), a.err)
	}
	l.mu.Lock()
	delete(l.artifacts, rev.Digest) // so that the next start tries again
	l.mu.Unlock()
}

// pruner is a driver that keeps what it prepared on disk.
type pruner interface {
	Prune(keep []faas.Image, grace time.Duration) error
}

// Prune has the drivers remove from disk what they prepared of images that
// are not among keep and have not been wanted for grace. What was prepared, or is
// being, and may be started stays: a deployment that is being tried is in nobody's
// list yet.
func (l *Launcher) Prune(keep []faas.Image, grace time.Duration) error {
	inUse, err := l.keepArtifacts()
	keep = slices.Concat(keep, inUse)
	errs := []error{err}
	for _, name := range l.order {
		if p, ok := l.drivers[name].Driver.(pruner); ok {
			errs = append(errs, p.Prune(keep, grace))
		}
	}
	return errors.Join(errs...)
}

// keepArtifacts wants the files of all artifacts, and returns their images. One
// whose files somebody has removed is forgotten, and made anew by the next start;
// so is one of a revision that was only tried.
func (l *Launcher) keepArtifacts() (images []faas.Image, err error) {
	l.mu.Lock()
	all, current := maps.Clone(l.artifacts), l.current
	l.mu.Unlock()
	for digest, a := range all {
		made := a.made()
		if made != nil && current != nil && !current[digest] && time.Since(a.at) > tried {
			l.forget(digest, a)
			continue
		}
		images = append(images, a.rev.Image)
		k, ok := made.(sandbox.Keeper)
		if !ok {
			continue
		}
		if keepErr := k.Keep(); keepErr != nil {
			err = errors.Join(err, fmt.Errorf("keep what was prepared for function %q: %w", a.rev.Function.Ref, keepErr))
			l.forget(digest, a)
		}
	}
	return images, err
}

func (l *Launcher) forget(digest string, a *artifact) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.artifacts[digest] == a {
		delete(l.artifacts, digest)
	}
}

// made returns the artifact, nil while there is none.
func (a *artifact) made() sandbox.Artifact {
	select {
	case <-a.done:
		return a.value
	default:
		return nil
	}
}

// imageKeeper is a driver with a store of images of its own.
type imageKeeper interface {
	KeptImage(ctx context.Context, reference string) (faas.Kept, error)
}

// KeptImage returns what a reference names in a sandbox's own store of images.
// The error's kind is not-found when that has no such image.
func (l *Launcher) KeptImage(ctx context.Context, sandbox, reference string) (faas.Kept, error) {
	d, ok := l.drivers[sandbox]
	if ok {
		if k, ok := d.Driver.(imageKeeper); ok {
			return k.KeptImage(ctx, reference)
		}
	}
	return faas.Kept{}, faas.Errorf(faas.KindNotFound, "sandbox %q keeps no images of its own in this build", sandbox)
}

// Keep forgets the artifacts of revisions that are not among current.
func (l *Launcher) Keep(current []*faas.Revision) {
	keep := make(map[string]bool, len(current))
	for _, rev := range current {
		keep[rev.Digest] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = keep
	for digest, a := range l.artifacts {
		select {
		case <-a.done:
			if !keep[digest] {
				delete(l.artifacts, digest)
			}
		default: // being made: somebody waits for it
		}
	}
}
