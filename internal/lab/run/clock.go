package run

import (
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// quickBudget is how long a quick run should take until all is measured. What
// is always taken may take longer than it was said to: with that, stopping and
// the report it stays below three minutes.
const quickBudget = 125 * time.Second

// lent is which part of its budget a run may be behind at the beginning.
const lent = 12

// budget is how long all steps may take; 0 is without end.
func (r *runner) budget() time.Duration {
	if r.Scale == experiment.Quick {
		return quickBudget
	}
	return 0
}

// A clock tells how much time is left, by how long steps took beside what they
// were said to take, and which steps have to be left out for a budget to be
// kept: those of the subjects that take most time.
type clock struct {
	begin  time.Time
	budget time.Duration
	all    time.Duration // cost of all steps
	ahead  time.Duration // cost of the steps that are left
	said   time.Duration // cost of those that were taken
	used   map[experiment.Subject]time.Duration
	share  time.Duration // of the budget, for each subject
	out    map[record.Missing]int
	order  []record.Missing
}

func newClock(steps []step, begin time.Time, budget time.Duration) *clock {
	c := &clock{begin: begin, budget: budget, used: map[experiment.Subject]time.Duration{}, out: map[record.Missing]int{}}
	for _, s := range steps {
		c.all += s.trial.Cost
		c.used[s.subject] = 0
	}
	c.ahead = c.all
	c.share = budget / time.Duration(max(1, len(c.used)))
	return c
}

// late reports whether a step can't be taken without others' having to be left
// out: less of the work is done than of the time is gone, and its subject has
// had more than its share of that. The first of each kind is always taken.
func (c *clock) late(s step) bool {
	if c.budget == 0 || s.round.number == 0 && s.trial.All != nil || c.all == 0 {
		return false
	}
	done := float64(c.all-c.ahead+s.trial.Cost) / float64(c.all)
	// At the beginning a little says much: some time is lent, and asked back.
	allowed := done + (1-done)/lent
	if time.Since(c.begin) <= time.Duration(allowed*float64(c.budget)) || c.used[s.subject] <= time.Duration(done*float64(c.share)) {
		return false
	}
	return s.round.number > 0 || !s.first
}

// skip leaves a step out.
func (c *clock) skip(s step) {
	c.ahead -= s.trial.Cost
	m := record.Missing{Experiment: s.experiment.Name, Sandbox: s.subject.Sandbox}
	if c.out[m]++; c.out[m] == 1 {
		c.order = append(c.order, m)
	}
}

func (c *clock) took(s step, d time.Duration) {
	c.ahead, c.said = c.ahead-s.trial.Cost, c.said+s.trial.Cost
	c.used[s.subject] += d
}

func (c *clock) left() time.Duration {
	if c.said < time.Second {
		return c.ahead
	}
	return time.Duration(float64(c.ahead) * float64(time.Since(c.begin)) / float64(c.said)).Round(time.Second)
}

// leftOut says what was left out.
func (c *clock) leftOut() []record.Missing {
	var all []record.Missing
	for _, m := range c.order {
		n := c.out[m]
		m.Reason = fmt.Sprintf("%d measurements were left out, for the time of a quick run or because those before had failed", n)
		all = append(all, m)
	}
	return all
}
