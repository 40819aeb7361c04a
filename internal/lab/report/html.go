package report

import (
	"bytes"
	_ "embed" // for the page
	"fmt"
	"html/template"
	"strings"

	"github.com/unifaas/unifaas/internal/lab/claim"
	"github.com/unifaas/unifaas/internal/lab/draw"
	"github.com/unifaas/unifaas/internal/lab/figure"
	"github.com/unifaas/unifaas/internal/lab/record"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	style string
	//go:embed page.js
	script string
)

// html is the report in one file that needs no other: figures, style and
// script are in it.
func (r *Report) html() ([]byte, error) {
	page, err := template.New("page").Funcs(template.FuncMap{
		"inline":   func(f figure.Figure) template.HTML { return template.HTML(f.Picture.Inline()) },   //nolint:gosec // SVG of our own, escaped
		"style":    func() template.CSS { return template.CSS(style + draw.Stylesheet("data-theme")) }, //nolint:gosec // our own
		"script":   func() template.JS { return template.JS(script) },                                  //nolint:gosec // our own
		"machine":  machine,
		"missing":  missing,
		"what":     what,
		"failures": failures,
		"warnings": warnings,
		"number":   func(v float64) string { return number(v, 4) },
		"marks":    func(f figure.Figure) string { return strings.Join(f.Marks(), "|") },
		"file":     func(f figure.Figure) string { return figuresName + "/" + f.Name },
		"word":     func(o claim.Outcome) string { return strings.Fields(string(o))[0] },
	}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("read the report's page: %w", err)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, r); err != nil {
		return nil, fmt.Errorf("write the report's page: %w", err)
	}
	return b.Bytes(), nil
}

func warnings(s record.Summary) string { return strings.Join(s.Warnings, "; ") }
