// Package guest is the function that the conformance suite runs inside every
// sandbox: one small HTTP server that misbehaves on request. Its paths
// describe the sandbox from inside or push against one of its limits, and its
// environment can keep it from starting well. It is a package of its own, and
// not only a main, so that the scripted fake can run it in process.
//
// It imports only the standard library and must not know any sandbox.
package guest

// The environment variables that decide how the guest starts.
const (
	// ModeEnv holds one of the modes below; empty means to serve at once.
	ModeEnv = "GUEST_MODE"
	// CodeEnv is the exit status of ModeExit.
	CodeEnv = "GUEST_CODE"
	// DelayEnv is the time.Duration for which ModeLate waits.
	DelayEnv = "GUEST_DELAY"
	// PortEnv overrides the TCP port, 8080.
	PortEnv = "PORT"
)

// The ways to start.
const (
	ModeExit    = "exit"    // write a line to standard error and exit with CodeEnv
	ModeNever   = "never"   // run, and never listen
	ModeLate    = "late"    // listen after DelayEnv
	ModeGarbage = "garbage" // accept, and answer anything with bytes that are not HTTP
	ModeHalf    = "half"    // accept, answer with half a response, close
	ModeSpin    = "sleep"   // do nothing until killed; what /fork starts
)
