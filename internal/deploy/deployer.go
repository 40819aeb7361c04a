package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

// A Platform runs functions. Its methods may be called concurrently.
type Platform interface {
	// Try starts an instance of rev and returns when it is ready to serve.
	// Whoever called it calls end once: with serve true when rev is being
	// served, so that the instance may take requests, else it is stopped.
	Try(ctx context.Context, rev *faas.Revision) (end func(serve bool), err error)
	// Served returns when the revision with digest is what new requests for
	// ref get; with "" when nothing deployed is.
	Served(ctx context.Context, ref faas.Ref, digest string) error
	// Drained returns when no instance of a revision of ref that is no longer
	// served is left.
	Drained(ctx context.Context, ref faas.Ref) error
	// Elsewhere returns the path of the function.toml of a function that is
	// not deployed but comes from elsewhere, "" when there is none.
	Elsewhere(ref faas.Ref) string
}

// Options configure a [Deployer].
type Options struct {
	Store    *Store         // required
	Images   catalog.Images // required
	Platform Platform       // required
	// Pin returns the reference of a function's image with the digest that it
	// has now; "" when it has none to pin. Default: nothing is pinned.
	Pin    func(ctx context.Context, fn *faas.Function) (string, error)
	Limits Limits
	// Uploads bounds how many bundles are received at once; default 4.
	Uploads int
	// SwitchTimeout bounds the wait for a switch that is on disk to reach the
	// requests; default 1 min.
	SwitchTimeout time.Duration
	// ImageTimeout bounds how long an image may take to come from elsewhere;
	// default 15 min.
	ImageTimeout time.Duration
	Logger       *slog.Logger // default: discard
}

// A Deployer changes what is deployed. Its methods may be called
// concurrently; those that concern the same function wait for each other.
type Deployer struct {
	opts    Options
	uploads chan struct{}
	locks   locks

	life context.Context
	end  context.CancelFunc
	mu   sync.Mutex // orders begin and Stop
	work sync.WaitGroup
}

// New returns a deployer. Stop it when done.
func New(opts Options) *Deployer {
	opts.Limits.setDefaults()
	if opts.Pin == nil {
		opts.Pin = func(context.Context, *faas.Function) (string, error) { return "", nil }
	}
	if opts.Uploads <= 0 {
		opts.Uploads = 4
	}
	if opts.SwitchTimeout <= 0 {
		opts.SwitchTimeout = time.Minute
	}
	if opts.ImageTimeout <= 0 {
		opts.ImageTimeout = 15 * time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Deployer{opts: opts, uploads: make(chan struct{}, opts.Uploads), locks: locks{held: map[string]*lock{}}}
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

// Stop gives up what is under way, unless its switch has begun, waits for it,
// and has all that comes later refused. It is idempotent.
func (d *Deployer) Stop() {
	d.mu.Lock()
	d.end()
	d.mu.Unlock()
	d.work.Wait()
}

// begin admits one operation. The context returned ends with the caller's and
// with the deployer's; done must be called, with the operation's error, and
// returns what to tell of it.
func (d *Deployer) begin(ctx context.Context, name string) (_ context.Context, done func(error) error, err error) {
	if !faas.ValidName(name) {
		return nil, nil, faas.Errorf(faas.KindInvalid, "%q is no function name: it has 1 to 63 letters, digits, dots, underscores "+
			"and hyphens, and begins and ends with a letter or a digit; choose another with --name", name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.Err() != nil {
		return nil, nil, errStopping(name)
	}
	d.work.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.life, cancel)
	return ctx, func(err error) error {
		defer d.work.Done()
		stop()
		cancel()
		if err != nil && d.life.Err() != nil && errors.Is(err, context.Canceled) {
			return errStopping(name)
		}
		return shortage(d.opts.Store.opts.Dir, err)
	}, nil
}

func errStopping(name string) error {
	return faas.Errorf(faas.KindUnavailable, "the platform is stopping; function %q stays as it is", name)
}

// A Request asks for a deployment.
type Request struct {
	Name      string
	Overrides Overrides
	Source    string // what is deployed, for people
	File      string // name of the function.toml in messages; default "function.toml"
	Try       bool   // switch only after an instance has been ready
	// Bundle is a tar with a function.toml and the files that it names.
	Bundle io.Reader
}

// An Outcome tells what is served after a deploy or a rollback.
type Outcome struct {
	Function  string      `json:"function"`
	Current   Deployment  `json:"current"`
	Previous  *Deployment `json:"previous,omitempty"` // where a rollback leads to
	Unchanged bool        `json:"unchanged"`          // it was served already; nothing was done
}

// Deploy makes a deployment of what r holds and has it served in place of the
// one before. Until the switch, which is one step, every failure leaves what
// was; the error says why, and an Output method of an error in its chain what
// the function printed. Requests under way finish on what they began with.
// What has the revision that is served already changes nothing.
func (d *Deployer) Deploy(ctx context.Context, r Request) (_ *Outcome, err error) {
	ctx, done, err := d.begin(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	defer func() { err = done(err) }()
	if err := d.refuseElsewhere(r.Name); err != nil {
		return nil, err
	}
	received, err := d.receive(ctx, r)
	if err != nil {
		return nil, err
	}
	defer received.discard()
	unlock, err := d.locks.lock(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	defer d.sweep(r.Name) // the new one too, unless it became current
	made, err := d.settle(r, received)
	if err != nil {
		return nil, err
	}
	rev, err := d.bind(ctx, r.Name, made)
	if err != nil {
		return nil, err
	}
	old := d.opts.Store.current(r.Name)
	if old != nil && old.err == nil && old.Digest == rev.Digest {
		return d.unchanged(r.Name, rev.Digest)
	}
	if err := d.change(ctx, rev, made, old, r.Try); err != nil {
		return nil, fmt.Errorf("deploy %q: %w", r.Name, err)
	}
	d.opts.Logger.Info("function deployed", "function", r.Name, "deployment", made.Number, "revision", made.Revision)
	return d.outcome(r.Name), nil
}

func (d *Deployer) refuseElsewhere(name string) error {
	if file := d.opts.Platform.Elsewhere(faas.NewRef(name)); file != "" && d.opts.Store.get(name) == nil {
		return faas.Errorf(faas.KindInvalid, "the name %q is taken by the function of %s; remove it there, or choose another with --name", name, file)
	}
	return nil
}

// unchanged has what is current looked at again, should it not be served for
// want of an image that is there now.
func (d *Deployer) unchanged(name, digest string) (*Outcome, error) {
	d.opts.Store.touch(name)
	if err := d.served(name, digest); err != nil {
		return nil, err
	}
	out := d.outcome(name)
	out.Unchanged = true
	return out, nil
}

func (d *Deployer) outcome(name string) *Outcome {
	out := &Outcome{Function: name}
	current, previous := d.opts.Store.Deployed(name)
	if current != nil {
		out.Current = *current
	}
	out.Previous = previous
	return out
}

// sweep removes what the record does not name. What stays is swept at the
// next start.
func (d *Deployer) sweep(name string) {
	if err := d.opts.Store.sweep(name); err != nil {
		d.opts.Logger.Warn("cannot remove old deployments", "function", name, "err", err)
	}
}
