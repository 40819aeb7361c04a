// Package sandboxtest holds what tests of sandboxes share: the conformance
// suite that every driver passes ([Run]), a scripted driver without a sandbox
// ([Fake]) and a decorator that makes any driver fail at a chosen step
// ([Faulty]).
//
// It must not know any driver; a driver's test file hands its own to Run.
package sandboxtest
