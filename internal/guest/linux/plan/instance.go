package plan

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
)

// An Instance is what one guest is told on the kernel's command line.
type Instance struct {
	ID string // without blanks and quotes

	// Address is the guest's, with the length of its network's prefix. The
	// zero value is no network.
	Address IPv4
	Prefix  int
	Gateway IPv4
	// GatewayMAC is the gateway's, so that nobody needs to ask for it; zero is not
	// known.
	GatewayMAC MAC
	// Vsock says that the host is at the other side of a vsock device, without a
	// network: by that the guest reports to it and takes connections for the
	// function.
	Vsock bool
	// Control is the port of the gateway, or the host's of vsock, at which the host
	// listens; 0 is nobody to report to.
	Control int

	Off  Off
	Time int64  // nanoseconds since 1970 when the machine is started; 0 leaves the clock
	Seed []byte // of entropy; whoever may read the command line knows it
}

// An Off is how a machine is ended from the inside.
type Off string

// The ways to end a machine.
const (
	OffPower Off = "power" // the kernel turns it off
	OffReset Off = "reset" // the kernel restarts it, which ends its monitor
)

// An IPv4 is an address.
type IPv4 [4]byte

// A MAC is an Ethernet address.
type MAC [6]byte

func (a IPv4) String() string {
	var parts []string
	for _, b := range a {
		parts = append(parts, strconv.Itoa(int(b)))
	}
	return strings.Join(parts, ".")
}

func (m MAC) String() string {
	var parts []string
	for i := range m {
		parts = append(parts, hex.EncodeToString(m[i:i+1]))
	}
	return strings.Join(parts, ":")
}

// ParseIPv4 reads the usual form, four decimal numbers with dots.
func ParseIPv4(text string) (IPv4, error) {
	var a IPv4
	parts := strings.Split(text, ".")
	if len(parts) != len(a) {
		return a, errors.New("bad address " + strconv.Quote(text))
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return a, errors.New("bad address " + strconv.Quote(text))
		}
		a[i] = byte(n)
	}
	return a, nil
}

// ParseMAC reads the usual form, six hexadecimal numbers with colons.
func ParseMAC(text string) (MAC, error) {
	var m MAC
	parts := strings.Split(text, ":")
	if len(parts) != len(m) {
		return m, errors.New("bad Ethernet address " + strconv.Quote(text))
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 16, 8)
		if err != nil {
			return m, errors.New("bad Ethernet address " + strconv.Quote(text))
		}
		m[i] = byte(n)
	}
	return m, nil
}

// prefix begins every word of ours. The kernel takes what has a dot in it for
// a module's business, and neither complains nor hands it on.
const prefix = "unifaas."

// HasHost reports whether there is a host to report to.
func (i *Instance) HasHost() bool { return i.Control != 0 }

// Words returns the words of the command line that tell i.
func (i *Instance) Words() []string {
	words := []string{prefix + "id=" + i.ID, prefix + "off=" + string(i.Off)}
	if i.Address != (IPv4{}) {
		gateway := i.Gateway.String()
		if i.GatewayMAC != (MAC{}) {
			gateway += "," + i.GatewayMAC.String()
		}
		words = append(words, prefix+"ip="+i.Address.String()+"/"+strconv.Itoa(i.Prefix), prefix+"gw="+gateway)
	}
	if i.Vsock {
		words = append(words, prefix+"vsock")
	}
	if i.Control != 0 {
		words = append(words, prefix+"control="+strconv.Itoa(i.Control))
	}
	if i.Time != 0 {
		words = append(words, prefix+"time="+strconv.FormatInt(i.Time, 10))
	}
	if len(i.Seed) > 0 {
		words = append(words, prefix+"seed="+hex.EncodeToString(i.Seed))
	}
	return words
}

// Parse reads the kernel's command line. Words that are not ours are left
// alone.
func Parse(cmdline string) (*Instance, error) {
	i := &Instance{Off: OffPower}
	for _, word := range strings.Fields(cmdline) {
		word, ours := strings.CutPrefix(word, prefix)
		if !ours {
			continue
		}
		name, value, _ := strings.Cut(word, "=")
		if err := i.set(name, value); err != nil {
			return nil, errors.New("command line: " + prefix + name + ": " + err.Error())
		}
	}
	return i, nil
}

func (i *Instance) set(name, value string) (err error) {
	switch name {
	case "id":
		i.ID = value
	case "off":
		if i.Off = Off(value); i.Off != OffPower && i.Off != OffReset {
			return errors.New("unknown way " + strconv.Quote(value))
		}
	case "ip":
		address, length, _ := strings.Cut(value, "/")
		if i.Prefix, err = strconv.Atoi(length); err != nil || i.Prefix < 1 || i.Prefix > 32 {
			return errors.New("bad prefix length " + strconv.Quote(length))
		}
		i.Address, err = ParseIPv4(address)
	case "gw":
		address, mac, known := strings.Cut(value, ",")
		if i.Gateway, err = ParseIPv4(address); err == nil && known {
			i.GatewayMAC, err = ParseMAC(mac)
		}
	case "vsock":
		i.Vsock = true
	case "control":
		if i.Control, err = strconv.Atoi(value); err != nil || i.Control < 1 || i.Control > 65535 {
			return errors.New("bad port " + strconv.Quote(value))
		}
	case "time":
		i.Time, err = strconv.ParseInt(value, 10, 64)
	case "seed":
		i.Seed, err = hex.DecodeString(value)
	default:
		return errors.New("unknown word")
	}
	return err
}
