package gateway

const (
	// responseBuffer is what one read from a function may return.
	responseBuffer = 32 << 10
	// writeBuffer holds a head and what of the body is gathered with it.
	writeBuffer = 16 << 10
)

// A scratch is the memory of one exchange, pooled: idle connections have none.
type scratch struct {
	request  []byte // the head, and the body when it is held
	response []byte // what is written to the client
	read     []byte // what is read from the function
}

func newScratch(maxHead int) *scratch {
	return &scratch{
		request:  make([]byte, 0, 4<<10),
		response: make([]byte, 0, writeBuffer),
		read:     make([]byte, max(responseBuffer, maxHead)),
	}
}
