package gateway

// check is the sweeper's look at the clock. It reports whether the client's
// socket is to be looked at too.
func (w *watch) check(now int64, draining, pressed bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != causeNone {
		return false
	}
	switch w.phase {
	case phaseBusy:
		return false
	case phaseIdle:
		if draining || now >= w.deadline || pressed && now-w.since >= pressedIdle {
			w.fireLocked(causeIdle, nil)
		}
		return false
	case phaseHead:
		if now >= w.deadline {
			w.fireLocked(causeHead, nil)
		}
		return false
	}
	if c := w.overdue(now); c != causeNone {
		w.fireLocked(c, nil)
		return false
	}
	return true
}

func (w *watch) overdue(now int64) cause {
	stalled := w.stall.Load()
	switch {
	case w.deadline > 0 && now >= w.deadline:
		return causeFirstByte
	case w.total > 0 && now >= w.total:
		return causeTotal
	case stalled > 0 && w.phase == phaseExchange && now-stalled >= w.stallMax:
		return causeStall
	case w.idle > 0 && now-w.last.Load() >= w.idle:
		if stalled > 0 && w.phase == phaseExchange {
			return causeStall
		}
		return causeSilence
	}
	return causeNone
}

// closed is told that the client has closed its connection, or at least, when
// hard is false, its sending side. Half-closed with the whole request read
// counts as gone, as in nginx; before that, what is unread must be too little
// for the request in two sweeps running.
func (w *watch) closed(hard bool, unread func() int64) {
	available := unread()
	need := w.need.Load()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase != phaseExchange && (!hard || w.phase != phaseTunnel) {
		return
	}
	switch {
	case hard, need == 0:
		w.fireLocked(causeGone, nil)
	case need != bodyUnknown && available < need:
		if w.suspected == need {
			w.fireLocked(causeGone, nil)
		}
		w.suspected = need
	}
}
