package record

// A Summary describes one series. The statistics are those of the samples
// that did not fail; where there are none, all are 0.
type Summary struct {
	Key
	N        int `json:"n"` // samples that did not fail
	Failures int `json:"failures"`
	// ByClass counts failures.
	ByClass map[Class]int `json:"failures_by_class,omitempty"`

	Min float64 `json:"min"`
	P25 float64 `json:"p25"`
	P50 float64 `json:"p50"` // median
	P75 float64 `json:"p75"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
	// Low and High are the median's 95 % confidence interval, by bootstrap;
	// both are the median where it is not known (one sample, or a summary that
	// somebody else has published).
	Low  float64 `json:"low"`
	High float64 `json:"high"`

	// Warnings are about this series: too few samples, a noisy machine.
	Warnings []string `json:"warnings,omitempty"`
	// Values are the samples in the order in which they were taken; nil where
	// only the summary is known.
	Values []float64 `json:"-"`
}

// A Run is what reports are made of.
type Run struct {
	// Name says which run it is, for people: the folder, or "the paper".
	Name      string    `json:"name"`
	Host      Host      `json:"host"`
	Summaries []Summary `json:"summaries"`
	// Missing are sandboxes and experiments that are not there, with the
	// reason.
	Missing []Missing `json:"missing,omitempty"`
	// Command is what a user enters to make the run again; "" where nobody can.
	Command string `json:"command,omitempty"`
	// Warnings are about the whole run.
	Warnings []string `json:"warnings,omitempty"`
}

// Missing says why something was not measured.
type Missing struct {
	Experiment string `json:"experiment,omitempty"` // "" is all
	Sandbox    string `json:"sandbox,omitempty"`    // "" is all
	Reason     string `json:"reason"`
}

// Of returns the summaries of one experiment and metric, in their order.
func (r *Run) Of(experiment, metric string) []Summary {
	var found []Summary
	for _, s := range r.Summaries {
		if s.Experiment == experiment && s.Metric == metric {
			found = append(found, s)
		}
	}
	return found
}

// Find returns the summary of a series whose unit is not asked about.
func (r *Run) Find(k Key) (Summary, bool) {
	for _, s := range r.Summaries {
		got := s.Key
		got.Unit = k.Unit
		if got == k {
			return s, true
		}
	}
	return Summary{}, false
}
