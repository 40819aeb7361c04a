// Package claim judges what the paper says by what a run has measured.
package claim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/lab/chart"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/stat"
)

// An Outcome is how a claim fares.
type Outcome string

// The outcomes.
const (
	Confirmed     Outcome = "confirmed"
	Refuted       Outcome = "refuted"
	Undecided     Outcome = "undecided" // what was measured can't be told apart
	NotMeasurable Outcome = "not measurable here"
)

// A Judgement is a claim, judged.
type Judgement struct {
	Claim    string  `json:"claim"`
	Outcome  Outcome `json:"outcome"`
	Evidence string  `json:"evidence"` // the figures it rests on, or what is missing
}

// A claim is a sentence and how it is judged: it holds if all its parts do.
type claim struct {
	text  string
	parts []part
}

// A part compares, in one experiment, each sandbox of a family with all the
// others.
type part struct {
	experiment, language string
	// metric is the one that counts; where nobody has measured it, the first.
	metric string
	// choose is of the sets of parameters that all sandboxes have; nil is the
	// only one.
	choose func(sets []string) string
	// family are those of which something is said; others are those that they
	// are compared with, nil is all that are there.
	family, others []string
	// less says that the family has less than factor times the others, else
	// that it has more than factor times as much.
	less   bool
	factor float64 // 0 is 1
	// within, if not 0, says instead that no two sandboxes differ by more than
	// this factor. Family is not looked at.
	within float64
	// extent compares the largest parameter of this name that was measured
	// without failing, instead of a median.
	extent string
}

// unikernels of the paper.
var unikernels = []string{"nanos", "osv"}

// gvisor by any of the ways in which it is run.
var gvisor = []string{"docker-runsc", "gvisor", "runsc"}

func last(sets []string) string  { return sets[len(sets)-1] }
func first(sets []string) string { return sets[0] }

func of(parameters string) func([]string) string {
	return func(sets []string) string {
		if slices.Contains(sets, parameters) {
			return parameters
		}
		return ""
	}
}

// goAndNode is a part once for each language.
func goAndNode(p part) []part {
	other := p
	p.language, other.language = "go", "node"
	return []part{p, other}
}

// claims are what the paper says about its figures, in our words. Each comes
// out as confirmed of the figures that were published with it; a test sees to
// that.
var claims = []claim{
	{"Unikernels start fastest, in Go and in Node.", goAndNode(part{experiment: "cold-start", family: unikernels, less: true})},
	{"A cold start takes longest with gVisor.", goAndNode(part{experiment: "cold-start", family: gvisor})},
	{"In the largest burst, too, unikernels start fastest.", goAndNode(part{experiment: "burst", choose: last, family: unikernels, less: true})},
	{"In the largest burst, requests wait longest with gVisor.", goAndNode(part{experiment: "burst", choose: last, family: gvisor})},
	{"Idle containers need the least memory.", goAndNode(part{experiment: "idle-memory", metric: "pss", choose: last, family: []string{"docker-runc", "container", "runc"}, less: true})},
	{"Node on Nanos needs the most memory.", []part{{experiment: "idle-memory", metric: "pss", language: "node", choose: last, family: []string{"nanos"}}}},
	{"OSv never idles: it takes ten times the instructions of any other, and more.", goAndNode(part{experiment: "idle-cpu", family: []string{"osv"}, factor: 10})},
	{"gVisor's network is slowest: fewest requests, longest transfers.", []part{
		{experiment: "network-requests", language: "go", choose: first, family: gvisor, less: true},
		{experiment: "network-throughput", language: "go", family: gvisor},
	}},
	{"With many connections at once OSv answers most requests.", []part{{experiment: "network-requests", language: "go", choose: of("connections=64"), family: []string{"osv"}}}},
	{"Nanos fails under fewer connections than a Linux microVM.", []part{{experiment: "network-requests", language: "go", extent: "connections", family: []string{"nanos"}, others: []string{"linux"}, less: true}}},
	{"For work of the processor alone it does not matter which sandbox (5 % at most).", []part{{experiment: "cpu-fib", language: "go", choose: of("attempt=second"), within: 1.05}}},
	{"Memory is slowest to be had on Nanos.", []part{{experiment: "alloc", language: "go", choose: of("attempt=second"), family: []string{"nanos"}}}},
	{"A file that was read before is read fastest on OSv.", []part{{experiment: "read", language: "go", choose: of("attempt=second"), family: []string{"osv"}, less: true}}},
	{"Unpacking an archive takes longest on OSv.", []part{{experiment: "unzip", language: "go", family: []string{"osv"}}}},
	{"The kernel of a unikernel is smaller than Linux's.", []part{{experiment: "image-size", language: "go", choose: of("file=kernel"), family: unikernels, others: []string{"linux"}, less: true}}},
	{"A unikernel boots with fewer instructions of the host than a Linux microVM.", goAndNode(part{experiment: "boot-instructions", choose: last, family: unikernels, others: []string{"linux"}, less: true})},
}

// Judge judges all claims.
func Judge(r *record.Run) []Judgement {
	var all []Judgement
	for _, c := range claims {
		all = append(all, c.judge(r))
	}
	return all
}

// judge joins the judgements of the parts: the weakest counts.
func (c claim) judge(r *record.Run) Judgement {
	j := Judgement{Claim: c.text, Outcome: Confirmed}
	var evidence []string
	order := []Outcome{Confirmed, Undecided, NotMeasurable, Refuted}
	for _, p := range c.parts {
		outcome, why := p.judge(r)
		if slices.Index(order, outcome) > slices.Index(order, j.Outcome) {
			j.Outcome = outcome
		}
		evidence = append(evidence, strings.TrimSpace(p.language+": "+why))
	}
	j.Evidence = strings.Join(slices.Compact(evidence), "; ")
	return j
}

// isOf reports whether a sandbox is of a family: one of its names, or that
// with a monitor's behind it.
func isOf(sandbox string, family []string) bool {
	return slices.ContainsFunc(family, func(name string) bool {
		return sandbox == name || strings.HasPrefix(sandbox, name+"-")
	})
}

func (p part) series(r *record.Run, metric string) []record.Summary {
	return slices.DeleteFunc(r.Of(p.experiment, metric), func(s record.Summary) bool {
		return s.Language != p.language || s.N == 0
	})
}

func (p part) judge(r *record.Run) (outcome Outcome, evidence string) {
	series := p.series(r, p.metric)
	if len(series) == 0 && p.metric != "" {
		series = p.series(r, "")
	}
	if p.extent != "" {
		series = extents(series, p.extent)
	} else if series = p.chosen(series); series == nil {
		return NotMeasurable, fmt.Sprintf("what %s tells of it was not measured", p.experiment)
	}
	if p.within > 0 {
		all, _, without := p.comparable(r, series, nil)
		outcome, evidence = p.judgeWithin(all)
		return outcome, evidence + without
	}
	var family, others []record.Summary
	for _, s := range series {
		switch {
		case isOf(s.Sandbox, p.family):
			family = append(family, s)
		case p.others == nil || isOf(s.Sandbox, p.others):
			others = append(others, s)
		}
	}
	switch {
	case !p.whole(family):
		return NotMeasurable, fmt.Sprintf("%s has no measurement of %s", p.experiment, strings.Join(p.family, " and "))
	case len(others) == 0:
		return NotMeasurable, fmt.Sprintf("%s has nothing to compare it with", p.experiment)
	}
	family, others, without := p.comparable(r, family, others)
	if len(family) == 0 || len(others) == 0 {
		return NotMeasurable, fmt.Sprintf("%s has only emulated guests to compare with others", p.experiment)
	}
	outcome, evidence = p.compare(family, others)
	return outcome, evidence + without
}

// comparable leaves out emulated guests where times are compared and there are
// others, and says so: they tell of what executes them.
func (p part) comparable(r *record.Run, family, others []record.Summary) (f, o []record.Summary, without string) {
	emulated := func(s record.Summary) bool { return slices.Contains(r.Host.Emulated, s.Sandbox) }
	if !timed(family[0].Unit) || !slices.ContainsFunc(slices.Concat(family, others), emulated) {
		return family, others, ""
	}
	if !slices.ContainsFunc(family, func(s record.Summary) bool { return !emulated(s) }) {
		// All of the family are: with those alike.
		return family, slices.DeleteFunc(others, func(s record.Summary) bool { return !emulated(s) }), " (emulated guests alone)"
	}
	return slices.DeleteFunc(family, emulated), slices.DeleteFunc(others, emulated), " (without emulated guests)"
}

// timed reports whether values of a unit depend on how fast a guest is executed.
func timed(unit string) bool { return unit == "ms" || unit == "s" || strings.HasSuffix(unit, "/s") }

// whole reports whether a family is there: the unikernels each, of gVisor and
// of containers one way of running them is enough.
func (p part) whole(family []record.Summary) bool {
	if slices.Equal(p.family, unikernels) {
		for _, name := range unikernels {
			if !slices.ContainsFunc(family, func(s record.Summary) bool { return isOf(s.Sandbox, []string{name}) }) {
				return false
			}
		}
	}
	return len(family) > 0
}

func (p part) compare(family, others []record.Summary) (Outcome, string) {
	outcome := Confirmed
	for _, f := range family {
		for _, o := range others {
			switch p.holds(f, o) {
			case stat.Less:
				outcome = Refuted
			case stat.Same:
				if outcome == Confirmed {
					outcome = Undecided
				}
			}
		}
	}
	return outcome, describe(family) + " beside " + describe(others)
}

// holds says whether the claim holds for one pair: More if it does, Less if
// the contrary does, Same if that can't be told.
func (p part) holds(f, o record.Summary) stat.Verdict {
	a, b := f.P50, o.P50*cmp.Or(p.factor, 1)
	if p.less {
		a, b = b, a
	}
	seen := stat.Less
	if a > b {
		seen = stat.More
	}
	if p.extent != "" || len(f.Values) < stat.TooFew || len(o.Values) < stat.TooFew {
		return seen // of what is no timing, and of summaries, medians are all there is
	}
	scaled := make([]float64, len(o.Values))
	for i, v := range o.Values {
		scaled[i] = v * cmp.Or(p.factor, 1)
	}
	if stat.Compare(scaled, f.Values) == stat.Same {
		return stat.Same
	}
	return seen
}

func (p part) judgeWithin(series []record.Summary) (Outcome, string) {
	if len(series) < 2 {
		return NotMeasurable, fmt.Sprintf("%s has nothing to compare with", p.experiment)
	}
	byMedian := func(a, b record.Summary) int { return cmp.Compare(a.P50, b.P50) }
	low, high := slices.MinFunc(series, byMedian), slices.MaxFunc(series, byMedian)
	outcome := Refuted
	switch {
	case high.P50 <= low.P50*p.within:
		outcome = Confirmed
	case len(low.Values) > 0 && len(high.Values) > 0 && stat.Compare(low.Values, high.Values) == stat.Same:
		outcome = Undecided
	}
	return outcome, fmt.Sprintf("from %s to %s, %s %%", describe([]record.Summary{low}), describe([]record.Summary{high}), chart.Number(100*(high.P50/low.P50-1)))
}

// chosen leaves the series of one set of parameters, which most sandboxes have.
func (p part) chosen(series []record.Summary) []record.Summary {
	count := map[string]int{}
	most := 0
	for _, s := range series {
		count[s.Parameters]++
		most = max(most, count[s.Parameters])
	}
	var sets []string
	for set, n := range count {
		if n == most {
			sets = append(sets, set)
		}
	}
	if len(sets) == 0 {
		return nil
	}
	slices.SortFunc(sets, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	set := sets[0]
	if p.choose != nil {
		set = p.choose(sets)
	}
	kept := slices.DeleteFunc(series, func(s record.Summary) bool { return s.Parameters != set })
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// extents makes of each sandbox's series one whose median is the largest value
// of a parameter.
func extents(series []record.Summary, parameter string) []record.Summary {
	var all []record.Summary
	for _, s := range series {
		var v float64
		if _, err := fmt.Sscan(s.Parameter(parameter), &v); err != nil {
			continue
		}
		i := slices.IndexFunc(all, func(o record.Summary) bool { return o.Sandbox == s.Sandbox })
		if i < 0 {
			i, all = len(all), append(all, record.Summary{Key: record.Key{Sandbox: s.Sandbox, Language: s.Language, Unit: parameter}, N: 1})
		}
		all[i].P50 = max(all[i].P50, v)
	}
	return all
}

func describe(series []record.Summary) string {
	sorted := slices.SortedFunc(slices.Values(series), func(a, b record.Summary) int { return cmp.Compare(a.P50, b.P50) })
	var parts []string
	for _, s := range sorted {
		parts = append(parts, s.Sandbox+" "+chart.Value(s.P50, s.Unit))
	}
	return strings.Join(parts, ", ")
}
