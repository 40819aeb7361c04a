package logs

import (
	"context"
	"slices"
	"time"
)

type follower struct {
	function, instance string
	entries            chan Entry
}

func sortByTime(entries []Entry) {
	slices.SortStableFunc(entries, func(a, b Entry) int { return a.Time.Compare(b.Time) })
}

// Follow calls emit for the last lines that are kept, as Read returns them,
// and then for each new line of a function (of one instance, if instance is
// not empty) until ctx is done or emit fails. A follower that is slower than
// the function loses lines rather than slowing it.
func (c *Collector) Follow(ctx context.Context, function, instance string, tail int, emit func(Entry) error) error {
	f := &follower{function, instance, make(chan Entry, c.opts.subscribers)}
	c.mu.Lock()
	c.follows[f] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.follows, f)
		c.mu.Unlock()
	}()
	kept, err := c.Read(function, instance, tail)
	if err != nil {
		return err
	}
	var last time.Time
	for _, e := range kept {
		last = e.Time
		if err := emit(e); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-f.entries:
			// What came while the files were read may have been in them.
			if !e.Time.Truncate(timeResolution).After(last) {
				continue
			}
			if err := emit(e); err != nil {
				return err
			}
		}
	}
}

func (c *Collector) publish(e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f := range c.follows {
		if f.function != e.Function || f.instance != "" && f.instance != e.Instance {
			continue
		}
		select {
		case f.entries <- e:
		default:
		}
	}
}
