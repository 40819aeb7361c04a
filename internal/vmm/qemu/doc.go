// Package qemu is the two monitors that QEMU is: "qemu-microvm", its machine
// without PCI and BIOS devices that begins a kernel soonest, and "qemu", a PC
// (q35) that boots what only a BIOS can. Debian's QEMU 7.2 and newer are meant.
//
// A machine is one QEMU process without default devices, under an ordinary
// user where the platform is root, with QEMU's own seccomp filter on. It is
// steered by QMP (package qmp) over a socket that is made and listening before
// QEMU begins, so that nothing polls, and that stays in the machine's folder,
// so that the next run of the platform can take the machine over.
//
// The processor executes the guest where KVM does work, QEMU's translator
// (TCG) elsewhere. Who can tell is given to [New]: the package must not know
// how that is found out, nor what a guest is, nor where taps and control
// groups come from.
package qemu
