package gateway

// A stage is how far the loop has got with a connection when a goroutine has
// to go on with it.
type stage uint8

const (
	stageHead    stage = iota // a head is to be read, of which some may be here
	stageFailed               // the exchange has begun, and ends with exchange.err
	stageBegun                // the request is ready to be sent
	stageLeased               // the call has a lease
	stageAsked                // the request was written, as call.trip says
	stageSettled              // the answer is whole and is to be written
	stageOver                 // the exchange is over, and so is its connection
	stageParked               // none: the connection is with the loop
)
