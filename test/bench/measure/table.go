package measure

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// WriteTable prints rows for people; notes follow below the table.
func WriteTable(w io.Writer, rows []Row) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(table.Row{"what", "unit", "ours", "peer", "its value", "ratio", "target", "", "quartiles", "n"})
	for _, r := range rows {
		t.AppendRow(table.Row{
			r.Name, r.Unit, withNoise(r.Ours, r.OursMAD), r.Peer, withNoise(r.PeerValue, r.PeerMAD),
			number(r.Ratio), target(r), verdict(r), quartiles(r), r.Rounds,
		})
	}
	t.Render()
	for _, r := range rows {
		if r.Note != "" {
			fmt.Fprintf(w, "* %s / %s: %s\n", r.Name, r.Peer, r.Note)
		}
	}
}

func number(n Number) string {
	if !n.Known() {
		return "-"
	}
	v := float64(n)
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

func withNoise(v, mad Number) string {
	if !mad.Known() {
		return number(v)
	}
	return number(v) + " ±" + number(mad)
}

func target(r Row) string {
	if r.Target == nil {
		return ""
	}
	return r.Target.String()
}

func verdict(r Row) string {
	switch {
	case r.Target == nil:
		return ""
	case !r.Ratio.Known():
		return "not measured"
	case !r.Valid:
		return "not valid"
	case *r.Met:
		return "met"
	default:
		return "MISSED"
	}
}

func quartiles(r Row) string {
	if !r.RatioLow.Known() || !r.RatioHigh.Known() {
		return ""
	}
	return number(r.RatioLow) + ".." + number(r.RatioHigh)
}
