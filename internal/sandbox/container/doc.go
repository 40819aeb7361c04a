// Package container runs functions in Linux namespaces, without a runtime or a
// daemon: as tight as Docker's defaults and tighter (docs/sandboxes/container.md
// compares them), and started in a few milliseconds.
//
// An instance is the platform's launcher, a small program that is embedded
// into its binary, executed from memory in new user, pid, mount, network, IPC,
// UTS and cgroup namespaces. It mounts what the function is to see, gives up
// every privilege and starts the function. What an instance holds on the host
// is one cgroup, one range of user numbers, and a file or two in its folder;
// mounts and network are its namespaces' and go with its last process.
//
// Without root there is no range: the function is then the platform's own user
// outside, and the launcher stays inside, to hand out sockets.
//
// The package knows nothing of queues, HTTP or images' origins.
package container
