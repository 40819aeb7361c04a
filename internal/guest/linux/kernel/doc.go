// Package kernel keeps Linux kernels for guests: Debian's for virtual machines,
// which is downloaded as a package and never installed; the operator's; and
// our own small one, which is built from Debian's sources and boots faster.
//
// It knows the formats of kernels and of their modules. It starts no machine
// and knows no monitor.
package kernel
