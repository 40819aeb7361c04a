// Package plan is what the first process of a Linux guest is told: by a file
// that all instances of a function share, and by the kernel's command line,
// which each has for itself. It is linked into that process, so that it
// imports next to nothing.
package plan

// Where things are in the initial file system.
const (
	File    = "/unifaas/plan.json" // a Plan
	Modules = "/unifaas/modules"   // folder of the kernel's modules, loaded in the order of their names
	Root    = "/root"              // the function's root: a folder, or a mount point
)

// A Plan says how the function is run.
type Plan struct {
	Argv     []string
	Env      []string
	Dir      string // working folder
	UID, GID uint32
	Hostname string
	Port     int // on which the function serves

	// Disk is the type of the file system on the first disk that is the
	// function's root; "" when the initial file system has it in the folder
	// Root.
	Disk string

	Tmp int64 // bytes of /tmp
	Shm int64 // bytes of /dev/shm
	// Masked can't be looked into, ReadOnly not be written to: absolute paths.
	Masked   []string
	ReadOnly []string

	OpenFiles uint64 // limit for each process
	Pids      int    // limit of processes and threads
}

// FirstFree returns the lowest port that the function may bind, where it
// serves on port: its first process dials the host from a lower one, which the
// function can't.
func FirstFree(port int) int { return min(port, 1024) }
