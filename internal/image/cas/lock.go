package cas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// tryLock takes the store's lock or fails with EWOULDBLOCK. A lock belongs to
// the open file (flock(2)), so each call excludes the others also in one
// process. Closing the file releases it, and so does our death.
func (s *Store) tryLock(how int) (*os.File, error) {
	f, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock store: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock store %q: %w", s.dir, err)
	}
	return f, nil
}

const (
	lockPollMin = time.Millisecond
	lockPollMax = 50 * time.Millisecond
)

// lock waits for the lock until ctx is done. It polls, because a thread that
// blocks in flock can't be called back.
func (s *Store) lock(ctx context.Context, how int) (*os.File, error) {
	for wait := lockPollMin; ; wait = min(2*wait, lockPollMax) {
		f, err := s.tryLock(how)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock store %q: %w", s.dir, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}
