package tapnet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/host/tapnet"
)

// TCP's flags (RFC 9293, 3.1).
const (
	fin = 1 << 0
	syn = 1 << 1
	rst = 1 << 2
	ack = 1 << 4
)

// Sizes of headers: virtio's, Ethernet's, IP's and TCP's without options.
const (
	virtioSize   = 10
	ethernetSize = 14
	ipSize       = 20
	tcpSize      = 20
)

// A segment is what these tests know of TCP.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    byte
}

// A peer plays the guest: it is on the tap's other side.
type peer struct {
	t    *testing.T
	tap  *os.File
	plan tapnet.Plan
}

func newPeer(t *testing.T, n *tapnet.Network) *peer {
	t.Helper()
	tap, err := n.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close() })
	awaitCarrier(t, n) // before, frames may be dropped
	return &peer{t, tap, n.Plan()}
}

// receive returns the next segment, or false if there is none for a while. Any
// frame that is none, such as a question for an address, is an error.
func (p *peer) receive(wait time.Duration) (segment, bool) {
	p.t.Helper()
	if err := p.tap.SetReadDeadline(time.Now().Add(wait)); err != nil {
		p.t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := p.tap.Read(buffer)
	if os.IsTimeout(err) {
		return segment{}, false
	}
	if err != nil || n < virtioSize+ethernetSize+ipSize+tcpSize {
		p.t.Fatalf("read from tap: %d bytes, %v", n, err)
	}
	frame := buffer[virtioSize:n]
	want := append(append(bytes.Clone(p.plan.GuestMAC), p.plan.GatewayMAC...), 0x08, 0x00)
	if got := frame[:ethernetSize]; !bytes.Equal(got, want) {
		p.t.Fatalf("a frame begins with % x, want % x", got, want)
	}
	ip := frame[ethernetSize:]
	if ip[0] != 0x45 || ip[9] != 6 {
		p.t.Fatalf("no TCP without IP options: % x", ip[:ipSize])
	}
	tcp := ip[ipSize:]
	port := func(at int) uint16 { return binary.BigEndian.Uint16(tcp[at:]) }
	return segment{
		from: netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), port(0)),
		to:   netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), port(2)),
		seq:  binary.BigEndian.Uint32(tcp[4:]), ack: binary.BigEndian.Uint32(tcp[8:]), flags: tcp[13],
	}, true
}

func (p *peer) send(s segment) {
	p.t.Helper()
	tcp := make([]byte, tcpSize)
	binary.BigEndian.PutUint16(tcp[0:], s.from.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.to.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12], tcp[13] = tcpSize/4<<4, s.flags
	binary.BigEndian.PutUint16(tcp[14:], 0xffff) // window
	from, to := s.from.Addr().As4(), s.to.Addr().As4()
	pseudo := append(append(bytes.Clone(from[:]), to[:]...), 0, 6, 0, tcpSize)
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
	ip := append([]byte{0x45, 0, 0, ipSize + tcpSize, 0, 0, 0x40, 0, 64, 6, 0, 0}, append(from[:], to[:]...)...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	frame := make([]byte, virtioSize)
	frame = append(append(append(frame, p.plan.GatewayMAC...), p.plan.GuestMAC...), 0x08, 0x00)
	if _, err := p.tap.Write(append(append(frame, ip...), tcp...)); err != nil {
		p.t.Fatal(err)
	}
}

// checksum is the internet's (RFC 1071), of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
