// Package docker runs functions in containers of a Docker Engine, through its
// API, with any runtime that the Engine has registered.
//
// A function of the native form has no network: where the runtime uses the
// host's kernel, its port is dialled from inside the container's network
// namespace; else (gVisor, Kata) over a bridge of the platform's own that
// leads nowhere. A function of the paper artefact's form has what it had
// there: Docker's default bridge, a writable layer, and the address of a
// callback as its first argument.
//
// What an instance holds is one container, with the instance's name; whatever
// else there is, the Engine keeps. All containers of a platform are watched by
// one stream of events. The Engine may go away and come back at any time: an
// instance ends when its container has, never because nobody can be asked.
//
// The package must know nothing of queues or HTTP functions, and no other
// driver.
package docker
