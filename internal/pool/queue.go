package pool

import "time"

// A waiter is a request that waits for an instance.
type waiter struct {
	since  time.Time
	result chan outcome // buffered: whoever answers never blocks

	queued     bool // guarded by group.mu, as are the links
	prev, next *waiter
}

// An outcome is the single answer that a waiter gets.
type outcome struct {
	lease *Lease
	err   error
}

func newWaiter(now time.Time) *waiter {
	return &waiter{since: now, result: make(chan outcome, 1)}
}

// A queue is a first-in first-out list of waiters from which any can leave in
// constant time.
type queue struct {
	first, last *waiter
	n           int
}

func (q *queue) push(w *waiter) {
	w.queued, w.prev, w.next = true, q.last, nil
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.n++
}

func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.queued, w.prev, w.next = false, nil, nil
	q.n--
}

// pop removes the waiter that came first; nil when there is none.
func (q *queue) pop() *waiter {
	w := q.first
	if w != nil {
		q.remove(w)
	}
	return w
}
