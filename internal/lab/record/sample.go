package record

import (
	"strings"
	"time"
)

// A Key names a series of samples: those that are drawn from one distribution.
type Key struct {
	Experiment string `json:"experiment"` // "cold-start"
	// Sandbox is what the function ran in, as a user asks for it: "gvisor",
	// "docker-runsc", "linux-firecracker".
	Sandbox  string `json:"sandbox"`
	Language string `json:"language,omitempty"` // "go", "node"
	// Parameters are "name=value" pairs with semicolons between them, in the
	// experiment's order: "instances=10". They are the paper's where it has the
	// same.
	Parameters string `json:"parameters,omitempty"`
	// Metric tells an experiment's measures apart, "" is the first: an
	// experiment may measure both how long a request took and what it cost.
	Metric string `json:"metric,omitempty"`
	Unit   string `json:"unit"` // "ms", "MiB", "requests/s"
}

// Parameter returns the value of one parameter, "" where there is none.
func (k Key) Parameter(name string) string {
	for pair := range strings.SplitSeq(k.Parameters, ";") {
		if n, value, ok := strings.Cut(pair, "="); ok && n == name {
			return value
		}
	}
	return ""
}

// A Sample is one measurement.
type Sample struct {
	Key
	// Step is the part of the run that it was taken in, and Seq its number
	// there, from 0.
	Step string `json:"step"`
	Seq  int    `json:"seq"`
	// Value is in the key's unit. It means nothing where Failure is not nil.
	Value float64   `json:"value"`
	At    time.Time `json:"at"` // when it was begun
	// Load is the machine's load average of the last minute before the sample's
	// step began; the laboratory's own load is part of it.
	Load    float64  `json:"load"`
	Failure *Failure `json:"failure,omitempty"`
	// Doubt is what the experiment saw that makes the value less sure; "" is
	// nothing.
	Doubt string `json:"doubt,omitempty"`
}

// A Class is a kind of failure.
type Class string

// The classes of failures.
const (
	FailedStart Class = "start"       // the platform could not start an instance
	Timeout     Class = "timeout"     // no answer in time
	Reset       Class = "reset"       // the connection broke
	WrongStatus Class = "status"      // another status than 200
	WrongBytes  Class = "wrong bytes" // another body than expected
	Wedged      Class = "wedged"      // it answers nothing any more, until it is restarted
)

// Classes are all classes, in the order in which reports show them.
var Classes = []Class{FailedStart, Timeout, Reset, WrongStatus, WrongBytes, Wedged}

// A Failure says why there is no value.
type Failure struct {
	Class Class  `json:"class"`
	Text  string `json:"text"` // for people
}
