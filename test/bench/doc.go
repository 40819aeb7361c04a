// Command bench measures the platform beside what it competes with, in one run
// on one machine: nginx as a proxy; a bare clone, runc and gVisor's runsc without
// a platform; Docker. It prints a table and writes it as JSON; README.md says
// what each row is and how to read it. What it starts it stops, whatever
// happens.
//
// The legs here say what is measured and how; package peers runs the others,
// package load makes load, package measure knows statistics, and package proc
// looks after processes.
package main
