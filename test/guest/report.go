package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/unifaas/unifaas/test/guest/job"
)

// A report follows the events of a run: it prints what matters, keeps all
// output in a file for each job, and knows in the end how it went.
type report struct {
	out  io.Writer
	dir  string // of the jobs' files
	want []string

	log    *os.File // of the job that runs
	ended  map[string]bool
	failed []string
	done   bool
	broken string
}

func newReport(out io.Writer, dir string, tasks []task) *report {
	r := &report{out: out, dir: dir, ended: map[string]bool{}}
	for _, t := range tasks {
		r.want = append(r.want, t.name)
	}
	return r
}

// telling matches the lines of output that are printed: results of top-level
// tests, of those that failed or were skipped, and what ends a program.
var telling = regexp.MustCompile(`^(--- |PASS$|FAIL|panic: )|^ +--- (FAIL|SKIP)`)

func (r *report) handle(e job.Event) {
	switch e.Kind {
	case job.Hello:
		fmt.Fprintln(r.out, "guest:", e.Text)
	case job.Begin:
		fmt.Fprintf(r.out, "%s\n", e.Job)
		r.open(e.Job)
	case job.Output:
		if r.log != nil {
			fmt.Fprintln(r.log, e.Text)
		}
		if telling.MatchString(e.Text) {
			fmt.Fprintln(r.out, "   ", e.Text)
		}
	case job.End:
		r.end(e)
	case job.Done:
		r.done = true
	case job.Broken:
		r.broken = e.Text
	}
}

func (r *report) path(name string) string { return filepath.Join(r.dir, name+".log") }

func (r *report) open(name string) {
	file, err := os.Create(r.path(name))
	if err != nil {
		r.broken = err.Error()
		return
	}
	r.log = file
}

func (r *report) end(e job.Event) {
	r.ended[e.Job] = true
	result := "ok"
	if e.Failure != "" {
		result = "FAILED: " + e.Failure
		r.failed = append(r.failed, e.Job)
	}
	if r.log != nil {
		fmt.Fprintln(r.log, result)
		if err := r.log.Close(); err != nil {
			r.broken = err.Error()
		}
		r.log = nil
	}
	fmt.Fprintf(r.out, "%s: %s, %v; all output is in %s\n", e.Job, result, e.Took.Round(time.Millisecond), r.path(e.Job))
}

// result is nil when every job has run and passed.
func (r *report) result() error {
	var errs []error
	if r.log != nil { // the machine ended in the middle
		errs = append(errs, r.log.Close())
	}
	if r.broken != "" {
		errs = append(errs, errors.New(r.broken))
	}
	for _, name := range r.want {
		if !r.ended[name] {
			errs = append(errs, fmt.Errorf("%s has not ended", name))
		}
	}
	for _, name := range r.failed {
		errs = append(errs, fmt.Errorf("%s failed", name))
	}
	if !r.done && len(errs) == 0 {
		errs = append(errs, errors.New("the guest ended too soon"))
	}
	return errors.Join(errs...)
}
