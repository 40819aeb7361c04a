// Package thread prepares a process for a machine that has no more threads to
// give. It knows nothing of what the process does.
package thread

import (
	"runtime"
	"sync"
)

// Reserve makes Go's runtime have at least n threads. The runtime keeps the
// threads that it has made, and ends the process when it needs another and
// the kernel refuses (a pids limit that is exhausted): a process that must
// live through that makes early what it will need. A thread that waits takes
// about 16 KiB.
func Reserve(n int) {
	var there, gone sync.WaitGroup
	release := make(chan struct{})
	there.Add(n)
	for range n {
		gone.Go(func() {
			// A locked goroutine keeps its thread to itself, even while it
			// sleeps, so the next one needs another.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			there.Done()
			<-release
		})
	}
	there.Wait()
	close(release)
	gone.Wait()
}
