package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// maxMessage bounds a message, bytes. The longest reply of a command that the
// platform uses has a few kilobytes.
const maxMessage = 1 << 20

// A message is one that a server sends: a greeting, a reply, or an event.
type message struct {
	Greeting *greeting       `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *Error          `json:"error"`
	ID       *uint64         `json:"id"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	Stamp    struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
}

type greeting struct {
	Version Version `json:"version"`
}

// A Version is QEMU's.
type Version struct {
	QEMU struct {
		Major int `json:"major"`
		Minor int `json:"minor"`
		Micro int `json:"micro"`
	} `json:"qemu"`
	// Package is the distributor's word, for instance
	// "Debian 1:7.2+dfsg-7+deb12u18".
	Package string `json:"package"`
}

// String returns the version's numbers, for instance "7.2.22".
func (v Version) String() string {
	return strconv.Itoa(v.QEMU.Major) + "." + strconv.Itoa(v.QEMU.Minor) + "." + strconv.Itoa(v.QEMU.Micro)
}

// AtLeast reports whether it is major.minor or newer.
func (v Version) AtLeast(major, minor int) bool {
	return v.QEMU.Major > major || v.QEMU.Major == major && v.QEMU.Minor >= minor
}

// An Error is the server's refusal of a command.
type Error struct {
	Class string `json:"class"` // for instance "GenericError", "CommandNotFound"
	Desc  string `json:"desc"`  // for people
}

func (e *Error) Error() string { return e.Desc }

// An Event is something that has happened to a machine.
type Event struct {
	Name string // for instance "SHUTDOWN"
	Data json.RawMessage
	At   time.Time // by the server's clock
}

// A ProtocolError is what a server must not send.
type ProtocolError struct{ Why string }

func (e *ProtocolError) Error() string { return "not of QEMU's machine protocol: " + e.Why }

// parse reads a line.
func parse(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return m, &ProtocolError{fmt.Sprintf("%v, in %s", err, excerpt(line))}
	}
	kinds := 0
	for _, is := range []bool{m.Greeting != nil, m.Return != nil, m.Error != nil, m.Event != ""} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return m, &ProtocolError{"neither greeting, reply nor event: " + excerpt(line)}
	}
	return m, nil
}

// excerpt returns the beginning of what a server has sent, in one line.
func excerpt(line []byte) string {
	const enough = 120
	if len(line) > enough {
		return strconv.QuoteToASCII(string(line[:enough])) + "..."
	}
	return strconv.QuoteToASCII(string(line))
}

// readMessage returns the next message of in, whose buffer bounds it.
func readMessage(in *bufio.Reader) (message, error) {
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return message{}, &ProtocolError{fmt.Sprintf("a message of more than %d bytes", maxMessage)}
		}
		if err != nil {
			return message{}, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return parse(bytes.Clone(line))
		}
	}
}
