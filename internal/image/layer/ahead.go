package layer

import "io"

const (
	aheadChunk  = 256 << 10
	aheadChunks = 4
)

// Ahead reads r in a goroutine of its own, up to a megabyte ahead of who reads
// from it, so that decompressing and writing go on at the same time. Close
// waits for the goroutine; r's Read must not block for ever then.
func Ahead(r io.Reader) io.ReadCloser {
	a := &ahead{full: make(chan chunk, aheadChunks), free: make(chan []byte, aheadChunks), quit: make(chan struct{})}
	for range aheadChunks {
		a.free <- make([]byte, aheadChunk)
	}
	go a.fill(r)
	return a
}

type chunk struct {
	data []byte
	err  error
}

type ahead struct {
	full    chan chunk // closed by the goroutine at its end
	free    chan []byte
	quit    chan struct{}
	current []byte // what is left of buf
	buf     []byte
	err     error
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.full)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.quit:
			return
		}
		n := 0
		var err error
		for n < len(buf) && err == nil {
			var m int
			m, err = r.Read(buf[n:])
			n += m
		}
		a.full <- chunk{buf[:n], err} // never blocks: there are as many places as buffers
		if err != nil {
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.current) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.buf != nil {
			a.free <- a.buf
			a.buf = nil
		}
		c, ok := <-a.full
		if !ok {
			return 0, io.EOF
		}
		a.current, a.buf, a.err = c.data, c.data[:aheadChunk], c.err
	}
	n := copy(p, a.current)
	a.current = a.current[n:]
	return n, nil
}

func (a *ahead) Close() error {
	close(a.quit)
	for range a.full {
	}
	return nil
}
