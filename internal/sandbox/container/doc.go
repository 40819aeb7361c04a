// Package container runs functions in Linux namespaces, without a runtime or a
// daemon: as tight as Docker's defaults and tighter (docs/sandboxes/container.md
// compares them), and started in a few milliseconds.
//
// A small program, the launcher, is embedded into the platform's binary and
// kept running. For each instance it forks a process in new user, pid, mount,
// network, IPC and UTS namespaces, which carries out the script of the
// function's revision (package setup writes it): it mounts what the function is
// to see, gives up every privilege, starts the function, and waits for it. What
// an instance holds on the host is one cgroup, one range of user numbers, and a
// file or two in its folder; mounts and network are its namespaces' and go with
// its last process.
//
// Without root there is no range: the function is then the platform's own user
// outside, and the first process also hands out sockets from inside.
//
// The package knows nothing of queues, HTTP or images' origins.
package container
