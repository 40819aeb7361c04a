package pool

// A stack holds the instances of a group that have room for a request, the
// most recently used on top: it is the warmest, and the others age out.
type stack struct {
	top *instance
}

func (s *stack) push(i *instance) {
	if s.top == i {
		return
	}
	s.remove(i)
	i.stacked, i.above, i.below = true, nil, s.top
	if s.top != nil {
		s.top.above = i
	}
	s.top = i
}

// remove takes i out wherever it is; it need not be in.
func (s *stack) remove(i *instance) {
	if !i.stacked {
		return
	}
	if i.above == nil {
		s.top = i.below
	} else {
		i.above.below = i.below
	}
	if i.below != nil {
		i.below.above = i.above
	}
	i.stacked, i.above, i.below = false, nil, nil
}
