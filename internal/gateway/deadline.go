package gateway

import "time"

// SetDeadline is net.Conn's.
func (s *sock) SetDeadline(t time.Time) error {
	s.setDeadlines(t, true, true)
	return nil
}

// SetReadDeadline is net.Conn's.
func (s *sock) SetReadDeadline(t time.Time) error {
	s.setDeadlines(t, true, false)
	return nil
}

// SetWriteDeadline is net.Conn's.
func (s *sock) SetWriteDeadline(t time.Time) error {
	s.setDeadlines(t, false, true)
	return nil
}

// setDeadlines wakes those who wait, and has a parked task go on elsewhere,
// when the deadline has passed already.
func (s *sock) setDeadlines(t time.Time, in, out bool) {
	s.mu.Lock()
	if in {
		s.setDeadline(&s.in, t)
	}
	if out {
		s.setDeadline(&s.out, t)
	}
	ended := s.unparkPast()
	s.mu.Unlock()
	if ended != nil {
		ended.ended()
	}
}

// setDeadline does it for one side. s.mu is held.
func (s *sock) setDeadline(d *side, t time.Time) {
	d.stop()
	d.past = false
	if t.IsZero() || s.closed {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.past = true
		s.changed.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		s.mu.Lock()
		if d.timer != timer { // another one was set meanwhile
			s.mu.Unlock()
			return
		}
		d.past, d.timer = true, nil
		s.changed.Broadcast()
		ended := s.unparkPast()
		s.mu.Unlock()
		if ended != nil {
			ended.ended()
		}
	})
	d.timer = timer
}

func (d *side) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
