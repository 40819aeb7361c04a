// Package vm runs functions in virtual machines. Which machine monitor runs
// them (package vmm) and which guest system they boot (package guest) are two
// axes: a [Driver] is one guest system on all monitors that work here.
//
// Each machine has a network namespace of its own with nothing in it but a tap
// (package tapnet), so that it reaches nobody but the platform, and the
// platform reaches it by sockets made in there; a control group; and a user of
// its own for its monitor. A guest with an agent reports to the platform over a
// connection that it dials (package control): what its function writes, when
// that serves, and how it ended. Of others nothing is heard but the artefact's
// ready callback.
//
// What has to be made for a machine is made ahead of need, or at deploy time; a
// start is the monitor's execution and the guest's boot. The package knows
// nothing of kernels and disk formats, nor of how a monitor is told anything.
package vm
