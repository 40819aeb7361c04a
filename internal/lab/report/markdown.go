package report

import (
	"bytes"
	"fmt"

	"github.com/unifaas/unifaas/internal/lab/figure"
)

// markdown is the report for where there is no browser.
func (r *Report) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n", r.Run.Name)
	if m := machine(r.Run.Host); m != "" {
		fmt.Fprintf(&b, "\n%s.\n", m)
	}
	for _, w := range r.Run.Warnings {
		fmt.Fprintf(&b, "\n**%s**\n", w)
	}
	fmt.Fprint(&b, "\nMedians with their 95 % confidence intervals (bootstrap), quartiles, and every failure.\n")
	pictures(&b, r.TradeOff)
	fmt.Fprint(&b, "\n## What the paper says\n\n| claim | here | figures |\n|---|---|---|\n")
	for _, j := range r.Claims {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", j.Claim, j.Outcome, j.Evidence)
	}
	for _, s := range r.Sections {
		r.section(&b, s)
	}
	if len(r.Run.Missing) > 0 {
		fmt.Fprint(&b, "\n## Not measured\n\n")
	}
	for _, m := range r.Run.Missing {
		fmt.Fprintf(&b, "- %s\n", missing(m))
	}
	return b.Bytes()
}

func pictures(b *bytes.Buffer, figures []figure.Figure) {
	for _, f := range figures {
		fmt.Fprintf(b, "\n![%s](%s/%s.svg)\n", f.Picture.Title, figuresName, f.Name)
	}
}

func (r *Report) section(b *bytes.Buffer, s Section) {
	fmt.Fprintf(b, "\n## %s\n\n%s.\n", s.Name, s.About)
	if len(s.Figures) > 0 && s.Figures[0].Command != "" {
		fmt.Fprintf(b, "\n`%s`\n", s.Figures[0].Command)
	}
	pictures(b, s.Figures)
	pictures(b, s.Beside)
	fmt.Fprint(b, "\n| sandbox | language | what | unit | n | median | 95 % interval | quartiles | failures | |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, t := range s.Series {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %d | %s | %s to %s | %s to %s | %s | %s |\n", t.Sandbox, t.Language,
			what(t), t.Unit, t.N, number(t.P50, 4), number(t.Low, 4), number(t.High, 4), number(t.P25, 4), number(t.P75, 4), failures(t), warnings(t))
	}
}
