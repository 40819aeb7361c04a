// Package control is the platform's control API over a unix socket and its
// client. Whoever may open the socket may use all of it: the socket's file
// permissions are the access control. It knows the platform only through
// [Backend].
package control

import (
	"context"
	"time"

	"github.com/unifaas/unifaas/internal/deploy"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/logs"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Status describes the running platform.
type Status struct {
	Version   string    `json:"version"`
	Node      string    `json:"node"`
	PID       int       `json:"pid"`
	Gateway   string    `json:"gateway"` // address of the gateway, host:port
	Admin     string    `json:"admin"`   // address of metrics and health, "" when off
	Ready     bool      `json:"ready"`   // functions are being served
	Started   time.Time `json:"started"`
	Functions int       `json:"functions"`
}

// Function is a line of `unifaas list`.
type Function struct {
	Name      string `json:"name"`
	Sandbox   string `json:"sandbox,omitempty"`
	Revision  string `json:"revision,omitempty"` // "" when no version of it could be loaded
	Image     string `json:"image,omitempty"`
	Instances int    `json:"instances"`
	Queued    int    `json:"queued"`
	Error     string `json:"error,omitempty"`    // why its newest version is not served
	Origin    string `json:"origin"`             // "folder" or "deployed"
	Conflict  string `json:"conflict,omitempty"` // another function of this name, which is not served
}

// Detail is what `unifaas describe` shows of a function.
type Detail struct {
	Function
	Dir  string `json:"dir,omitempty"`
	File string `json:"file,omitempty"` // function.toml of a function from the folder
	// Deployed and Previous are what is deployed and where a rollback leads.
	Deployed *deploy.Deployment `json:"deployed,omitempty"`
	Previous *deploy.Deployment `json:"previous,omitempty"`
	// SandboxDetail is what is known of the sandbox here: its version, what
	// executes a virtual machine's guest.
	SandboxDetail string         `json:"sandbox_detail,omitempty"`
	Digest        string         `json:"digest,omitempty"`
	ImageDigest   string         `json:"image_digest,omitempty"`
	Loaded        time.Time      `json:"loaded,omitzero"`
	Config        *faas.Function `json:"config,omitempty"`
	Running       []Instance     `json:"running"`
	Exits         []Exit         `json:"exits"`
	// StartError is why the last start failed, nil when none has.
	StartError *StartError `json:"start_error,omitempty"`
	// Relief tells of the time during which the function is served by its
	// fallback; nil when it is served by its own sandbox.
	Relief       *Relief   `json:"relief,omitempty"`
	FailedStarts int       `json:"failed_starts"`     // in a row
	RetryAt      time.Time `json:"retry_at,omitzero"` // when the next start is tried
}

// Relief is the time during which a function is served by its fallback.
type Relief struct {
	Since  time.Time `json:"since"`
	Next   time.Time `json:"next"` // when its own sandbox is tried again
	Reason string    `json:"reason"`
}

// StartError is a start that failed.
type StartError struct {
	At     time.Time `json:"at"`
	Error  string    `json:"error"`
	Output string    `json:"output,omitempty"` // what the function printed before
}

// Instance is a line of `unifaas ps`.
type Instance struct {
	ID       string    `json:"id"`
	Function string    `json:"function"`
	Revision string    `json:"revision"`
	Sandbox  string    `json:"sandbox"`
	State    string    `json:"state"`
	InFlight int       `json:"in_flight"`
	Served   int       `json:"served"`
	Memory   int64     `json:"memory_bytes"` // 0 until measured
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
	// Phases are those of its start, in their order; none where it was taken
	// over from an earlier run of the platform.
	Phases []sandbox.Phase `json:"phases,omitempty"`
}

// Exit tells how an instance ended.
type Exit struct {
	Instance string    `json:"instance"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason"`
	Output   []string  `json:"output,omitempty"` // its last lines
}

// Sandbox is the answer of doctor for one sandbox, or for something else that
// functions may want of the machine.
type Sandbox struct {
	Name   string `json:"name"`
	Kind   Kind   `json:"kind,omitempty"`
	Works  bool   `json:"works"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
	Detail string `json:"detail,omitempty"`
	// Isolation is "" where it depends on the variant.
	Isolation sandbox.Isolation `json:"isolation,omitempty"`
	// Variants are the ways in which it can be had here, where there are
	// several.
	Variants []sandbox.Variant `json:"variants,omitempty"`
}

// A Kind says what doctor answers for.
type Kind string

const (
	KindSandbox Kind = ""        // what the list is mostly of
	KindProgram Kind = "program" // that functions take from this machine
)

// LogQuery selects output of a function.
type LogQuery struct {
	Function string
	Instance string // "" is all
	Tail     int    // last lines to begin with; 0 is all that is kept
	Follow   bool   // go on with new lines until the caller goes away
}

// A Backend is the platform as the control API sees it. Its methods may be
// called concurrently; errors have the kinds of package faas.
type Backend interface {
	Status() Status
	Functions() []Function
	Describe(name string) (*Detail, error)
	Instances() []Instance
	Logs(ctx context.Context, q LogQuery, emit func(logs.Entry) error) error
	Deployer
	Images
}
