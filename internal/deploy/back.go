package deploy

import (
	"context"
	"fmt"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

// Rollback has the deployment before the current one served again; the two
// change places, so that another Rollback undoes it. With try, an instance of
// it must first have been ready.
func (d *Deployer) Rollback(ctx context.Context, name string, try bool) (_ *Outcome, err error) {
	ctx, done, err := d.begin(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = done(err) }()
	unlock, err := d.locks.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f := d.opts.Store.get(name)
	switch {
	case f == nil:
		return nil, d.errNotDeployed(name)
	case f.err != nil:
		return nil, f.err
	case f.Previous == 0:
		return nil, faas.Errorf(faas.KindNotFound, "function %q has been deployed once; there is nothing to go back to", name)
	}
	back := f.revisions[f.Previous]
	if back.err != nil {
		return nil, back.err
	}
	img, err := d.resolve(ctx, d.opts.Store.Images(d.opts.Images), back.function)
	if err != nil {
		return nil, fmt.Errorf("roll back %q: %w", name, err)
	}
	rev, err := catalog.NewRevision(back.function, img)
	if err != nil {
		return nil, err
	}
	if err := d.change(ctx, rev, back, f.revisions[f.Current], try); err != nil {
		return nil, fmt.Errorf("roll back %q: %w", name, err)
	}
	d.opts.Logger.Info("function rolled back", "function", name, "deployment", back.Number, "revision", back.Revision)
	return d.outcome(name), nil
}

// Delete forgets a deployed function: new requests for it are refused, those
// under way finish. With wait it returns when its instances have gone.
func (d *Deployer) Delete(ctx context.Context, name string, wait bool) (err error) {
	ctx, done, err := d.begin(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = done(err) }()
	unlock, err := d.locks.lock(ctx, name)
	if err != nil {
		return err
	}
	defer func() { unlock() }()
	if d.opts.Store.get(name) == nil {
		return d.errNotDeployed(name)
	}
	if err := d.opts.Store.drop(name); err != nil {
		return fmt.Errorf("delete %q: %w", name, err)
	}
	d.opts.Logger.Info("function deleted", "function", name)
	err = d.served(name, "")
	if err == nil && wait {
		unlock() // it may be deployed anew meanwhile
		err = d.opts.Platform.Drained(ctx, faas.NewRef(name))
		// What is on disk goes in any case.
		unlock, _ = d.locks.lock(context.WithoutCancel(ctx), name)
	}
	d.sweep(name)
	return err
}

func (d *Deployer) errNotDeployed(name string) error {
	if file := d.opts.Platform.Elsewhere(faas.NewRef(name)); file != "" {
		return faas.Errorf(faas.KindInvalid, "function %q was not deployed, it comes from %s; change or remove it there", name, file)
	}
	return faas.Errorf(faas.KindNotFound, "no function %q is deployed; see unifaas list", name)
}
