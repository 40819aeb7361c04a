package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
)

// websocket echoes short text messages as RFC 6455 has them: enough to see
// that the bytes of both directions pass through once the protocol has
// changed.
func websocket(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	for {
		opcode, message, err := readMasked(buffered.Reader)
		if err != nil {
			return
		}
		frame := append([]byte{0x80 | opcode, byte(len(message))}, message...)
		if _, err := conn.Write(frame); err != nil || opcode == 8 {
			return
		}
	}
}

// readMasked reads one final, masked frame of less than 126 bytes.
func readMasked(r *bufio.Reader) (opcode byte, message []byte, err error) {
	var head [6]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[1] & 0x7f)
	if head[0]&0x80 == 0 || head[1]&0x80 == 0 || n > 125 {
		return 0, nil, fmt.Errorf("frame % x is not what this server takes", head)
	}
	message = make([]byte, n)
	if _, err := io.ReadFull(r, message); err != nil {
		return 0, nil, err
	}
	for i := range message {
		message[i] ^= head[2+i%4]
	}
	return head[0] & 0x0f, message, nil
}
