package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

// scriptedSource delivers what a test sends.
type scriptedSource struct{ updates chan catalog.Update }

func (s *scriptedSource) Watch(ctx context.Context, deliver func(catalog.Update)) error {
	for {
		select {
		case u, ok := <-s.updates:
			if !ok {
				return errors.New("the source broke")
			}
			deliver(u)
		case <-ctx.Done():
			return nil
		}
	}
}

// scriptedImages answers with what a test has set for an image's location.
type scriptedImages struct {
	mu      sync.Mutex
	errs    map[string][]error // taken one by one
	block   map[string]chan struct{}
	resolve int
	running int
	most    int
}

func (s *scriptedImages) Inputs(*faas.Function) []string { return nil }

func (s *scriptedImages) Resolve(ctx context.Context, fn *faas.Function) (faas.Image, error) {
	location := fn.Image.Location
	s.mu.Lock()
	s.resolve++
	s.running++
	s.most = max(s.most, s.running)
	var err error
	if errs := s.errs[location]; len(errs) > 0 {
		err, s.errs[location] = errs[0], errs[1:]
	}
	block := s.block[location]
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.running--; s.mu.Unlock() }()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return faas.Image{}, ctx.Err()
		}
	}
	return faas.Image{Digest: "sha256:" + location}, err
}

func entry(name, image string) catalog.Entry {
	fn := defaults()
	fn.Ref = faas.NewRef(name)
	fn.Image.Location = image
	return catalog.Entry{Ref: fn.Ref, Function: fn}
}

type fixture struct {
	t       *testing.T
	source  *scriptedSource
	images  *scriptedImages
	catalog *catalog.Catalog
}

// start runs a catalog in a bubble of testing/synctest.
func start(t *testing.T, opts catalog.Options, first ...catalog.Entry) *fixture {
	f := &fixture{
		t: t, source: &scriptedSource{updates: make(chan catalog.Update)},
		images: &scriptedImages{errs: map[string][]error{}, block: map[string]chan struct{}{}},
	}
	opts.Source, opts.Images = f.source, f.images
	f.catalog = catalog.New(opts)
	go func() { f.source.updates <- catalog.Update{Changed: first, Complete: true} }()
	return f
}

func (f *fixture) started() *fixture {
	f.t.Helper()
	if err := f.catalog.Start(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(f.catalog.Stop)
	return f
}

func (f *fixture) change(entries ...catalog.Entry) {
	f.source.updates <- catalog.Update{Changed: entries}
	synctest.Wait()
}

func (f *fixture) image(name string) string {
	f.t.Helper()
	rev, err := f.catalog.Lookup(name)
	if err != nil {
		f.t.Fatal(err)
	}
	return rev.Image.Digest
}

func TestStartPublishesTheFirstListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{}, entry("a", "1"), entry("b", "2")).started()
		if got := f.catalog.Snapshot().Len(); got != 2 {
			t.Errorf("%d functions, want 2", got)
		}
		if got := f.image("b"); got != "sha256:2" {
			t.Errorf("b is on %s", got)
		}
		_, err := f.catalog.Lookup("c")
		if faas.KindOf(err) != faas.KindNotFound {
			t.Error("lookup of an unknown function:", err)
		}
	})
}

func TestLastGoodVersionKeepsServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		f := start(t, catalog.Options{Registerer: reg}, entry("a", "1"), entry("b", "1")).started()
		before, _ := f.catalog.Lookup("a")
		broken := errors.New("function.toml:1:1: broken")
		f.change(catalog.Entry{Ref: faas.NewRef("a"), Err: broken})
		if rev, err := f.catalog.Lookup("a"); err != nil || rev != before {
			t.Errorf("lookup after a broken version: %v, %v", rev, err)
		}
		st, _ := f.catalog.Snapshot().Status("a")
		if !errors.Is(st.Err, broken) {
			t.Error("status says", st.Err)
		}
		want := float64(1)
		gauges, err := testutil.GatherAndCount(reg, "unifaas_catalog_functions")
		if err != nil || gauges != 3 {
			t.Fatal(gauges, err)
		}
		if got := gaugeValue(t, reg, "stale"); got != want {
			t.Errorf("%v stale functions, want %v", got, want)
		}
		f.change(entry("a", "1"))
		if rev, _ := f.catalog.Lookup("a"); rev != before {
			t.Error("the same version again is another revision")
		}
		if st, _ := f.catalog.Snapshot().Status("a"); st.Err != nil {
			t.Error("status still says", st.Err)
		}
	})
}

func gaugeValue(t *testing.T, reg *prometheus.Registry, state string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == state {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric for %q", state)
	return 0
}

func TestFunctionWithoutAGoodVersionIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{}, catalog.Entry{Ref: faas.NewRef("a"), Err: errors.New("secret detail")}).started()
		_, err := f.catalog.Lookup("a")
		if faas.KindOf(err) != faas.KindUnavailable {
			t.Error("got", err)
		}
		f.change(entry("a", "1"))
		f.image("a")
	})
}

func TestPassingFaultIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{RetryMin: time.Second, RetryMax: 3 * time.Second}, entry("a", "1"))
		busy := faas.Errorf(faas.KindBusy, "disk full")
		f.images.errs["1"] = []error{busy, errors.New("input/output error"), busy}
		f.started()
		began := time.Now()
		if _, err := f.catalog.Lookup("a"); faas.KindOf(err) != faas.KindUnavailable {
			t.Fatal("served at once:", err)
		}
		served := make(chan time.Duration, 1)
		f.catalog.Watch(func(s *catalog.Snapshot) {
			if _, err := s.Lookup("a"); err == nil {
				served <- time.Since(began)
			}
		})
		if got := <-served; got != 6*time.Second { // 1 s, 2 s, 3 s
			t.Errorf("served after %v, want 6s", got)
		}
	})
}

func TestLastingFaultIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{}, entry("a", "1"))
		f.images.errs["1"] = []error{faas.Errorf(faas.KindInvalid, "wrong architecture")}
		f.started()
		time.Sleep(time.Hour) // of the bubble's clock
		if f.images.resolve != 1 {
			t.Errorf("resolved %d times", f.images.resolve)
		}
	})
}

func TestNewerVersionOvertakesASlowOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{}, entry("a", "1")).started()
		f.images.block["slow"] = make(chan struct{})
		f.change(entry("a", "slow"))
		f.change(entry("a", "2"))
		if got := f.image("a"); got != "sha256:1" {
			t.Errorf("on %s while the newer versions are resolved", got)
		}
		close(f.images.block["slow"])
		synctest.Wait()
		if got := f.image("a"); got != "sha256:2" {
			t.Errorf("on %s, want the newest version", got)
		}
	})
}

func TestRemovedWhileResolving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{}, entry("a", "1")).started()
		f.images.block["slow"] = make(chan struct{})
		f.change(entry("a", "slow"))
		f.source.updates <- catalog.Update{Removed: []faas.Ref{faas.NewRef("a")}}
		f.change(entry("a", "3"))
		time.Sleep(time.Second) // of the bubble's clock
		if got := f.image("a"); got != "sha256:3" {
			t.Errorf("on %s", got)
		}
		close(f.images.block["slow"])
		synctest.Wait()
		if got := f.image("a"); got != "sha256:3" {
			t.Errorf("on %s after the removed one's end", got)
		}
		f.source.updates <- catalog.Update{Removed: []faas.Ref{faas.NewRef("a")}}
		synctest.Wait()
		if f.catalog.Snapshot().Len() != 0 {
			t.Error("still there after its removal")
		}
	})
}

func TestSlowFunctionHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{Parallel: 2}, entry("a", "1")).started()
		f.images.block["slow"] = make(chan struct{})
		entries := []catalog.Entry{entry("slow", "slow")}
		for i := range 50 {
			entries = append(entries, entry(fmt.Sprint("f", i), "2"))
		}
		f.change(entries...)
		time.Sleep(time.Second) // of the bubble's clock
		if got := f.catalog.Snapshot().Len(); got != 50+1 {
			t.Errorf("%d functions, want all but the slow one", got)
		}
		if f.images.most > 2 {
			t.Errorf("%d images resolved at the same time, want at most 2", f.images.most)
		}
		close(f.images.block["slow"])
	})
}

func TestSourceThatEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{})
		<-f.source.updates // takes the first update away
		close(f.source.updates)
		if err := f.catalog.Start(t.Context()); err == nil || err.Error() != "the source broke" {
			t.Error("Start returned", err)
		}
	})
}

func TestStartIsBoundedByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{}, entry("a", "slow"))
		f.images.block["slow"] = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.catalog.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("Start returned", err)
		}
	})
}

func TestWatchersSeeEverySnapshotInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, catalog.Options{}, entry("a", "1")).started()
		var sizes []int
		f.catalog.Watch(func(s *catalog.Snapshot) { sizes = append(sizes, len(s.Revisions())) })
		f.change(entry("b", "1"))
		f.change(entry("c", "1"))
		if fmt.Sprint(sizes) != "[1 2 3]" {
			t.Error("snapshots had", sizes)
		}
	})
}
