package catalog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

// scripted is a source that delivers what it is sent, and ends when its
// channel does.
type scripted struct {
	updates chan catalog.Update
	err     error
}

func newScripted() *scripted { return &scripted{updates: make(chan catalog.Update)} }

func (s *scripted) Watch(ctx context.Context, deliver func(catalog.Update)) error {
	for {
		select {
		case u, ok := <-s.updates:
			if !ok {
				return s.err
			}
			deliver(u)
		case <-ctx.Done():
			return nil
		}
	}
}

func from(kind, name string) catalog.Entry {
	return catalog.Entry{
		Ref: faas.NewRef(name), Function: &faas.Function{Ref: faas.NewRef(name), Dir: kind},
		Origin: catalog.Origin{Kind: kind, File: kind + "/" + name},
	}
}

func TestMergedSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newScripted(), newScripted()
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		ended := make(chan error, 1)
		go func() {
			ended <- catalog.Merge(first, second).Watch(ctx, func(u catalog.Update) { got = append(got, describe(u)) })
		}()
		for _, step := range []struct {
			to   *scripted
			u    catalog.Update
			want []string
		}{
			{second, catalog.Update{Changed: []catalog.Entry{from("two", "a"), from("two", "b")}, Complete: true}, []string{"a=two b=two"}},
			{first, catalog.Update{Changed: []catalog.Entry{from("one", "a")}}, []string{"a=one!two/a"}},
			{first, catalog.Update{Complete: true}, []string{"complete"}},
			{first, catalog.Update{Changed: []catalog.Entry{from("one", "b")}, Removed: []faas.Ref{faas.NewRef("a")}}, []string{"a=two b=one!two/b"}},
			{second, catalog.Update{Removed: []faas.Ref{faas.NewRef("b"), faas.NewRef("a")}}, []string{"b=one -a"}},
			{first, catalog.Update{Complete: true, Removed: []faas.Ref{faas.NewRef("b")}}, []string{"-b"}},
		} {
			got = nil
			step.to.updates <- step.u
			synctest.Wait()
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("delivered, want (-):\n%s", diff)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// describe writes an update as "NAME=SOURCE!CONFLICT -REMOVED complete".
func describe(u catalog.Update) string {
	var parts []string
	for _, e := range u.Changed {
		part := e.Ref.Name + "=" + e.Origin.Kind
		if e.Conflict != nil {
			file, _, _ := strings.Cut(e.Conflict.Error(), " ")
			part += "!" + file
		}
		parts = append(parts, part)
	}
	for _, ref := range u.Removed {
		parts = append(parts, "-"+ref.Name)
	}
	if u.Complete {
		parts = append(parts, "complete")
	}
	return strings.Join(parts, " ")
}

func TestAMergedSourceEndsWithOneOfItsSources(t *testing.T) {
	first, second := newScripted(), newScripted()
	second.err = errors.New("lost")
	close(second.updates)
	if err := catalog.Merge(first, second).Watch(t.Context(), func(catalog.Update) {}); !errors.Is(err, second.err) {
		t.Errorf("ended with %v, want %v", err, second.err)
	}
}

func TestAConflictIsPartOfTheStatus(t *testing.T) {
	first, second := newScripted(), newScripted()
	c := catalog.New(catalog.Options{Source: catalog.Merge(first, second), Images: sameImage{}})
	go func() {
		first.updates <- catalog.Update{Changed: []catalog.Entry{from("one", "a")}, Complete: true}
		second.updates <- catalog.Update{Complete: true}
	}()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	seen := make(chan *catalog.Status, 100)
	c.Watch(func(s *catalog.Snapshot) { st, _ := s.Status("a"); seen <- st })
	await := func(what string, done func(*catalog.Status) bool) {
		t.Helper()
		for st := range seen {
			if done(st) {
				return
			}
		}
		t.Fatal(what)
	}
	served := func(st *catalog.Status, kind string) bool {
		return st != nil && st.Err == nil && st.Revision != nil && st.Origin.Kind == kind
	}
	await("alone", func(st *catalog.Status) bool { return served(st, "one") && st.Conflict == nil })
	second.updates <- catalog.Update{Changed: []catalog.Entry{from("two", "a")}}
	await("with a conflict", func(st *catalog.Status) bool { return served(st, "one") && st.Conflict != nil })
	first.updates <- catalog.Update{Removed: []faas.Ref{faas.NewRef("a")}}
	await("the other's", func(st *catalog.Status) bool { return served(st, "two") && st.Conflict == nil })
}

type sameImage struct{}

func (sameImage) Resolve(context.Context, *faas.Function) (faas.Image, error) {
	return faas.Image{Digest: "sha256:0"}, nil
}
func (sameImage) Inputs(*faas.Function) []string { return nil }
