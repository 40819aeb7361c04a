package main

import "testing"

// Lists as the kernel prints them.
const (
	listHead  = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	listTail  = " 00000000:00000000 00:00000000 00000000  1000        0 9 1 0000000000000000 100 0 0 10 0\n"
	anywhere  = "   0: 00000000:1F90 00000000:0000 0A" + listTail
	localOnly = "   1: 0100007F:1F90 00000000:0000 0A" + listTail
	connected = "   2: 0200580A:1F90 0100580A:A123 01" + listTail
	otherPort = "   3: 00000000:0050 00000000:0000 0A" + listTail
	anywhere6 = "   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A" + listTail
	local6    = "   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A" + listTail
	mapped    = "   0: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A" + listTail
	mapped10  = "   0: 0000000000000000FFFF00000200580A:1F90 00000000000000000000000000000000:0000 0A" + listTail
)

func TestListens(t *testing.T) {
	for name, c := range map[string]struct {
		list                string
		reachable, loopback bool
	}{
		"nothing":               {listHead, false, false},
		"anywhere":              {listHead + otherPort + anywhere, true, false},
		"loopback":              {listHead + localOnly, false, true},
		"both":                  {listHead + localOnly + anywhere, true, true},
		"a connection":          {listHead + connected, false, false},
		"another port":          {listHead + otherPort, false, false},
		"IPv6":                  {listHead + anywhere6, true, false},
		"IPv6 loopback":         {listHead + local6, false, true},
		"IPv4 in IPv6":          {listHead + mapped10, true, false},
		"IPv4 in IPv6 loopback": {listHead + mapped, false, true},
		"cut off":               {listHead + anywhere[:20], false, false},
	} {
		reachable, loopback := listens([]byte(c.list), 8080)
		if reachable != c.reachable || loopback != c.loopback {
			t.Errorf("%s: got %v, %v, want %v, %v", name, reachable, loopback, c.reachable, c.loopback)
		}
	}
}

func TestListensOnALowPort(t *testing.T) {
	if reachable, _ := listens([]byte(listHead+otherPort), 80); !reachable {
		t.Error("port 80 is not found")
	}
}

func FuzzListens(f *testing.F) {
	f.Add([]byte(listHead+anywhere), 8080)
	f.Fuzz(func(t *testing.T, list []byte, port int) {
		reachable, loopback := listens(list, port)
		if (reachable || loopback) && len(list) < 20 {
			t.Errorf("found something in %q", list)
		}
	})
}
