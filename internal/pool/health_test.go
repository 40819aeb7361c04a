package pool

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// answers makes an instance answer every connection's only request.
func answers(status string, delay time.Duration) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer func() { _ = theirs.Close() }()
			if _, err := http.ReadRequest(bufio.NewReader(theirs)); err != nil {
				return
			}
			time.Sleep(delay)
			_, _ = io.WriteString(theirs, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
		}()
		return ours, nil
	}
}

func TestHealthChecks(t *testing.T) {
	for _, test := range []struct {
		name    string
		dial    func(context.Context) (net.Conn, error)
		retired bool
		reason  string
	}{
		{"well", answers("204 No Content", 0), false, ""},
		{"ill", answers("500 Oops", 0), true, "status 500"},
		{"hangs", answers("200 OK", time.Hour), true, "deadline exceeded"},
		{"refuses", nil, true, "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				l := &launcher{born: func(f *fake) { f.dial = test.dial }}
				p := newPool(t, l)
				rev := function("f", func(f *faas.Function) { f.Health, f.Keepalive = "/health", time.Hour })
				lease := acquire(t, p, rev)
				time.Sleep(time.Minute)
				equal(t, "alive while busy", len(l.alive()), 1)
				lease.Release(true)
				time.Sleep(12 * time.Second)
				synctest.Wait()
				equal(t, "retired", l.nth(0).isStopped(), test.retired)
				if exits := p.Snapshot()[0].Exits; test.retired && !strings.Contains(exits[0].Reason, test.reason) {
					t.Errorf("exits: %+v", exits)
				}
				p.SetRevisions(nil)   // or what makes up for it would go on
				time.Sleep(time.Hour) // the one that hangs comes back
			})
		})
	}
}

// A wedged instance accepts connections and never answers.
func TestWedgedInstanceIsReplacedWithinASecond(t *testing.T) {
	for _, late := range []time.Duration{2 * time.Second, time.Hour} {
		t.Run(late.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				well, wedged := answers("200 OK", 0), answers("200 OK", late)
				l := &launcher{born: func(f *fake) { f.dial = well }}
				p := newPool(t, l)
				rev := function("f", func(f *faas.Function) { f.Health, f.Keepalive = "/health", 10*time.Second })
				serve(t, p, rev)
				time.Sleep(2*time.Second + 10*time.Millisecond)
				first := l.nth(0)
				first.setDial(wedged)
				time.Sleep(time.Second)
				synctest.Wait()
				equal(t, "launches within a second", l.count(), 2)
				equal(t, "states", states(p), "suspect idle")
				lease := acquire(t, p, rev)
				equal(t, "a request has the new one", lease.Instance().ID(), l.nth(1).ID())
				lease.Release(true)
				first.setDial(well)
				time.Sleep(3 * time.Second)
				synctest.Wait()
				comesBack := late < healthTimeout
				equal(t, "the wedged one is stopped", first.isStopped(), !comesBack)
				equal(t, "instances", len(l.alive()), map[bool]int{true: 2, false: 1}[comesBack])
				time.Sleep(20 * time.Second)
				synctest.Wait()
				equal(t, "left after their keepalive", len(l.alive()), 0)
				equal(t, "launches", l.count(), 2)
				time.Sleep(time.Hour) // what hangs comes back
			})
		})
	}
}

func states(p *Pool) string {
	var states []string
	for _, i := range p.Snapshot()[0].Instances {
		states = append(states, string(i.State))
	}
	return strings.Join(states, " ")
}

// What is wedged holds up no check of another.
func TestChecksDoNotWaitForEachOther(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.dial = answers("200 OK", 0) }}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Health = "/health" })
		for _, r := range send(p, rev, 8) {
			r.lease.Release(true)
		}
		for n := range 8 {
			l.nth(n).setDial(answers("200 OK", time.Hour))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "launches within a second", l.count(), 16)
		p.SetRevisions(nil)
		time.Sleep(2 * time.Hour)
	})
}

func TestConnectionIsAHealthCheck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.dial = answers("500 Oops", 0) }} // nothing is asked
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Health = faas.HealthTCP })
		serve(t, p, rev)
		time.Sleep(5 * time.Second)
		equal(t, "launches", l.count(), 1)
		l.nth(0).setDial(func(ctx context.Context) (net.Conn, error) { // as a guest whose kernel died
			<-ctx.Done()
			return nil, ctx.Err()
		})
		time.Sleep(time.Second)
		equal(t, "launches within a second", l.count(), 2)
		time.Sleep(3 * time.Second)
		exits := p.Snapshot()[0].Exits
		if len(exits) != 1 || !strings.Contains(exits[0].Reason, "health check: connect: context deadline exceeded") {
			t.Errorf("exits: %+v", exits)
		}
		p.SetRevisions(nil)
	})
}

func TestLostInstanceIsReplacedAtOnce(t *testing.T) {
	for _, test := range []struct {
		name  string
		loss  func(*fake, *Lease)
		edit  func(*faas.Function)
		count int // launches in the end
	}{
		{"crashed when idle", func(f *fake, l *Lease) { l.Release(true); f.crash(sandbox.Exit{Code: 1}) }, nil, 2},
		{"broke a request", func(_ *fake, l *Lease) { l.Release(false) }, nil, 2},
		{"crashed with a request", func(f *fake, l *Lease) { f.crash(sandbox.Exit{Code: 1}); synctest.Wait(); l.Release(false) }, nil, 2},
		{"without keepalive", func(f *fake, l *Lease) { f.crash(sandbox.Exit{Code: 1}); l.Release(false) },
			func(f *faas.Function) { f.Keepalive = 0; f.MinInstances = 1 }, 2}, // for the minimum only
		{"single-use", func(f *fake, l *Lease) { l.Release(true); f.crash(sandbox.Exit{Code: 1}) },
			func(f *faas.Function) { f.SingleUse = faas.StayIdle }, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				l := &launcher{}
				p := newPool(t, l)
				rev := function("f", func(f *faas.Function) {
					if test.edit != nil {
						test.edit(f)
					}
				})
				if rev.Function.SingleUse == faas.Reuse {
					serve(t, p, rev)
				}
				lease := acquire(t, p, rev)
				test.loss(l.nth(0), lease)
				synctest.Wait()
				equal(t, "launches", l.count(), test.count)
				time.Sleep(time.Hour)
				synctest.Wait()
				equal(t, "launches in the end", l.count(), test.count)
			})
		})
	}
}

func TestHealthCheckSparesAnInstanceInUse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.dial = answers("500 Oops", 500*time.Millisecond) }}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Health = "/health" })
		serve(t, p, rev)
		time.Sleep(300*time.Millisecond + 250*time.Millisecond) // half-way through a check
		lease := acquire(t, p, rev)
		time.Sleep(10 * time.Second)
		equal(t, "alive", len(l.alive()), 1)
		lease.Release(true)
		p.SetRevisions(nil)
		time.Sleep(time.Second)
	})
}

// An instance that is late with each of its answers has one made for it, not
// one each time.
func TestLateInstancesDoNotMultiply(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.dial = answers("200 OK", suspectAfter+100*time.Millisecond) }}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Health, f.Keepalive = "/health", 5*time.Minute })
		for range 60 {
			serve(t, p, rev)
			time.Sleep(time.Second)
		}
		if n := l.count(); n > 4 {
			t.Errorf("%d launches in a minute of one request a second", n)
		}
		p.SetRevisions(nil)
		time.Sleep(5 * time.Second)
	})
}

// One that comes back and owes nothing takes nobody's replacement.
func TestBringBackLeavesOthersReplacement(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.dial = answers("200 OK", 0) }}
		p := newPool(t, l, func(o *Options) { o.StartParallelism = 2 })
		rev := function("f", func(f *faas.Function) { f.Health, f.Keepalive = "/health", time.Hour })
		served := acquire(t, p, rev)
		p.untake(acquire(t, p, rev)) // has served nothing yet
		served.Release(true)
		late := l.nth(1)
		late.setDial(answers("200 OK", time.Second))
		time.Sleep(time.Second)
		l.mu.Lock()
		l.delay = 2 * time.Second
		l.mu.Unlock()
		l.nth(0).crash(sandbox.Exit{Code: 1})
		time.Sleep(10 * time.Second)
		late.setDial(answers("200 OK", 0))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		equal(t, "launches", l.count(), 3)
		equal(t, "canceled", l.canceledStarts(), 0)
		p.SetRevisions(nil)
		time.Sleep(5 * time.Second)
	})
}

// What was lost by several functions at once is replaced in turn, places for
// starts being few.
func TestAllThatWasLostIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: placeHeld - 100*time.Millisecond}
		p := newPool(t, l, func(o *Options) { o.StartParallelism = 1 })
		names := []string{"f", "g", "h", "i"}
		for _, name := range names {
			serve(t, p, function(name, func(f *faas.Function) { f.Keepalive = time.Hour }))
		}
		for n := range names {
			l.nth(n).crash(sandbox.Exit{Code: 1})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "launches", l.count(), 2*len(names))
		equal(t, "alive", len(l.alive()), len(names))
	})
}

// A health check that nothing can pass is a start that fails: not made in a
// tight loop.
func TestHealthCheckThatNeverPassesBacksOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.dial = answers("404 Not Found", 0) }}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Health, f.MinInstances = "/helthz", 1 })
		p.SetRevisions([]*faas.Revision{rev})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := l.count(); n > 60 {
			t.Errorf("%d launches in ten minutes", n)
		}
		p.SetRevisions(nil)
	})
}

// An instance that is late makes room for a start that has no other.
func TestLateInstanceMakesRoom(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.dial = answers("200 OK", 0) }}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Health, f.Keepalive, f.MaxInstances = "/health", time.Hour, 1 })
		serve(t, p, rev)
		l.nth(0).setDial(answers("200 OK", time.Hour))
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "launches within a second, max-instances 1", l.count(), 2)
		equal(t, "alive", len(l.alive()), 1)
		p.SetRevisions(nil)
		time.Sleep(2 * time.Hour)
	})
}
