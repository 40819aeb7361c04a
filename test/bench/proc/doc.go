// Package proc starts the processes that a benchmark needs and sees to it
// that none is left: each is stopped by its pid when its group is closed, and
// asked to stop by the kernel should the benchmark itself be killed. It knows
// nothing of what the processes do.
package proc
