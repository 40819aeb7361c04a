package pool

import (
	"context"
	"fmt"
	"time"
)

const stopRetry = time.Second // doubled with each failure

// stopInBackground stops i, which beginStop has marked, off everyone's path.
func (p *Pool) stopInBackground(i *instance) {
	size := i.footprint()
	p.stopping.Add(1)
	p.freeing.Add(size)
	p.work.add()
	go func() {
		defer p.work.done()
		i.detach() // here: closing is the data path's code, and locks may be held outside
		p.mourn(i)
		err := p.stopOnce(i)
		p.stopping.Add(-1)
		p.freeing.Add(-size)
		if err != nil {
			p.uncount(i)
			err = p.stopAgain(i, err)
		}
		p.stopped(i, err)
	}()
}

// lastWords is how long an instance that broke a request is given to have
// ended by itself before it is stopped.
const lastWords = 250 * time.Millisecond

// mourn tells how an instance ended that broke a request: often its end is
// what broke it, and is noticed a moment later.
func (p *Pool) mourn(i *instance) {
	g := i.group
	g.mu.Lock()
	wanted := i.broke && !i.mourned
	g.mu.Unlock()
	if !wanted {
		return
	}
	p.uncount(i) // whoever waits for its place need not wait for its words
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-i.sandbox.Done():
	case <-timer.C:
		return
	case <-p.life.Done():
		return
	}
	exit := i.sandbox.Wait()
	g.history.exited(time.Now(), i.sandbox.ID(), g.rev, exit.String())
	p.log.Warn("instance ended by itself", "function", g.key.ref.String(), "instance", i.sandbox.ID(), "reason", exit.String())
}

func (p *Pool) stopOnce(i *instance) error {
	p.stopSlots <- struct{}{}
	defer func() { <-p.stopSlots }()
	ctx, cancel := context.WithTimeout(p.base, p.opts.StopTimeout)
	defer cancel()
	return i.sandbox.Stop(ctx)
}

// uncount keeps an instance whose stop takes time from holding back others.
func (p *Pool) uncount(i *instance) {
	i.group.mu.Lock()
	i.uncounted = true
	i.group.mu.Unlock()
	p.kick(i.group)
}

// stopAgain tries until the instance is stopped or the pool's Stop has run
// out of time.
func (p *Pool) stopAgain(i *instance, err error) error {
	for failures := 1; err != nil; failures++ {
		p.metrics.stopFailed(i.group.key.ref)
		if p.base.Err() != nil {
			return err
		}
		p.log.Warn("instance did not stop; trying again", "function", i.group.key.ref.String(),
			"instance", i.sandbox.ID(), "err", err)
		select {
		case <-time.After(delay(failures, stopRetry)):
		case <-p.base.Done():
			return err
		}
		err = p.stopOnce(i)
	}
	return nil
}

// stopped forgets i. err is what remained of stopping it.
func (p *Pool) stopped(i *instance, err error) {
	if err == nil {
		p.alive.Add(-1)
	}
	g := i.group
	g.mu.Lock()
	g.removeInstance(i)
	g.mu.Unlock()
	close(i.gone)
	p.kick(g)
	p.drop(g)
	p.work.done()
}

func (p *Pool) isStopping() bool {
	return p.life.Err() != nil
}

// Stop stops every instance, also those that serve requests (the gateway
// drains first), cancels starts, fails waiting requests, and returns when all
// is done or ctx ends; then with an error that says how many instances may be
// left, which the next start-up recovers. It may be called again.
func (p *Pool) Stop(ctx context.Context) error {
	p.shutOnce.Do(p.shut)
	err := p.work.wait(ctx)
	p.cancel()
	if err != nil {
		return fmt.Errorf("stop pool: %d instances may be left: %w", p.alive.Load(), err)
	}
	if n := p.alive.Load(); n > 0 {
		return fmt.Errorf("stop pool: %d instances could not be stopped", n)
	}
	return nil
}

// shut makes the pool take nothing new and begins to stop what there is.
func (p *Pool) shut() {
	p.endLife()
	p.index.mu.Lock()
	p.index.closed = true
	p.index.mu.Unlock()
	p.mu.Lock()
	if p.schedule.retry != nil {
		p.schedule.retry.Stop()
		p.schedule.retry = nil
	}
	p.mu.Unlock()
	for _, g := range p.index.all() {
		g.mu.Lock()
		fx := g.close()
		g.mu.Unlock()
		p.apply(g, fx)
	}
}

func (g *group) close() (fx effects) {
	g.closed = true
	if g.timer != nil {
		g.timer.Stop()
	}
	for _, s := range g.starts {
		s.canceled = true
		s.cancel()
	}
	for _, i := range g.instances {
		g.beginStop(i, &fx)
	}
	g.failWaiters(errStopping(g.key.ref))
	fx.empty = true
	return fx
}
