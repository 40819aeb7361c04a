package figure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/lab/chart"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// isolations are all kinds of isolation in the order of their marks' forms.
var isolations = []sandbox.Isolation{sandbox.SharedKernel, sandbox.UserSpaceKernel, sandbox.VirtualMachine, ""}

// TradeOff draws what each subject costs, in time and memory, and what it gives
// for it, isolation. ok is false where nothing of it was measured.
func (m *Maker) TradeOff(r *record.Run) (f Figure, ok bool) {
	p := chart.Plane{
		Frame: chart.Frame{
			Title:    r.Name + ": isolation, cold start and memory",
			Subtitle: "Farther to the left starts faster, farther below takes less memory. The mark tells what is between a function and the host's kernel.",
		},
		X: chart.Axis{Label: "cold start, median", Unit: "ms", Log: true}, Y: chart.Axis{Label: "memory of an idle instance", Unit: "MiB", Log: true},
		Named: true,
	}
	used := map[int]bool{}
	for _, s := range r.Of("cold-start", "") {
		memory, ok := InstanceMemory(r, s.Sandbox, s.Language)
		if !ok || s.N == 0 {
			continue
		}
		kind := r.Host.Isolation[s.Sandbox]
		look := m.look(s.Key)
		look.Form = slices.Index(isolations, kind)
		used[look.Form] = true
		title := fmt.Sprintf("%s and %s MiB; %s", chart.Value(s.P50, s.Unit), chart.Number(memory), cmp.Or(string(kind), "isolation not known"))
		p.Curves = append(p.Curves, chart.Curve{Label: subject(s.Key), Look: look, Places: []chart.Place{{X: s.P50, Y: memory, Title: title}}})
	}
	for i, kind := range isolations {
		if used[i] {
			p.Legend = append(p.Legend, chart.Entry{Label: cmp.Or(string(kind), "not known"), Look: chart.Look{Colour: neutral, Form: i}})
		}
	}
	if p.Empty() {
		return Figure{}, false
	}
	return Figure{Name: "trade-off", Picture: p.Draw(), Command: command(r, "cold-start,idle-memory")}, true
}

// InstanceMemory returns what one idle instance takes, in MiB: the
// proportional size of its processes where it is known, else its part of the
// drop of available memory; by as many instances as were measured at once.
func InstanceMemory(r *record.Run, sandbox, language string) (mib float64, ok bool) {
	for _, metric := range []string{"pss", ""} {
		most := 0.0
		for _, s := range r.Of("idle-memory", metric) {
			n := x(s.Key, "instances")
			if s.Sandbox != sandbox || s.Language != language || n <= most || s.N == 0 || s.P50 <= 0 {
				continue
			}
			most, mib, ok = n, s.P50, true
			if metric == "" {
				mib /= n
			}
		}
		if ok {
			return mib, true
		}
	}
	return 0, false
}

// Marks returns the series that a figure shows, each once, in their order.
func (f Figure) Marks() []string {
	var all []string
	for _, s := range f.Picture.Marks() {
		if s = strings.TrimSpace(s); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
