package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/unifaas/unifaas/internal/vmm"
)

// Bounds on an answer. Firecracker's are some hundred bytes.
const (
	maxLine    = 4 << 10
	maxHeaders = 32
	maxAnswer  = 64 << 10
)

var errAnswer = errors.New("the answer is no HTTP/1.1")

// readAnswer reads one response. Firecracker's have a Content-Length or no
// body, and leave the connection open; anything else is an error.
func readAnswer(r *bufio.Reader) (status int, body []byte, err error) {
	line, err := readLine(r)
	if err != nil {
		return 0, nil, err
	}
	if status, err = parseStatus(line); err != nil {
		return 0, nil, err
	}
	length, err := readHeaders(r)
	if err != nil {
		return 0, nil, err
	}
	if length > maxAnswer {
		return 0, nil, fmt.Errorf("the answer has %d bytes, at most %d are taken", length, maxAnswer)
	}
	body = make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, unexpected(err)
	}
	return status, body, nil
}

// parseStatus reads "HTTP/1.1 204 No Content"; Firecracker leaves the words
// away and writes "HTTP/1.1 204 ".
func parseStatus(line string) (int, error) {
	rest, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if !ok || err != nil || len(code) != 3 || status < 200 || status > 599 {
		return 0, fmt.Errorf("%w: it begins with %.40q", errAnswer, line)
	}
	return status, nil
}

// readHeaders reads to the end of the head and returns the body's length.
func readHeaders(r *bufio.Reader) (length int, err error) {
	for range maxHeaders {
		line, err := readLine(r)
		if err != nil || line == "" {
			return length, err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return 0, fmt.Errorf("%w: a header is %.40q", errAnswer, line)
		}
		switch value = strings.TrimSpace(value); strings.ToLower(name) {
		case "content-length":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return 0, fmt.Errorf("%w: its length is %.40q", errAnswer, value)
			}
			length = int(n)
		case "transfer-encoding":
			return 0, fmt.Errorf("%w: its encoding is %.40q", errAnswer, value)
		}
	}
	return 0, fmt.Errorf("%w: it has more than %d headers", errAnswer, maxHeaders)
}

// readLine reads to the next CRLF. The reader's buffer bounds it.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("%w: a line is longer than %d bytes", errAnswer, r.Size())
	}
	if err != nil {
		return "", unexpected(err)
	}
	return string(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))), nil
}

// unexpected makes the end of the connection an error that says so: an answer
// was due.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// maxFault bounds the words that an error carries.
const maxFault = 1 << 10

// refusal makes an error of an answer that is not a success.
func refusal(request string, status int, body []byte) error {
	var answer struct {
		Fault string `json:"fault_message"`
	}
	fault := string(body)
	if json.Unmarshal(body, &answer) == nil && answer.Fault != "" {
		fault = answer.Fault
	}
	return &vmm.APIError{Monitor: "firecracker", Request: request, Status: status, Fault: oneLine(fault)}
}

// oneLine makes text safe to show: one line of bounded length.
func oneLine(text string) string {
	if len(text) > maxFault {
		text = text[:maxFault]
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text)
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return "it gave no reason"
	}
	return text
}
