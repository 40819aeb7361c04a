package main

import (
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest/linux/plan"
)

const device = "eth0"

// deviceTime is for a device to be found.
const deviceTime = 5 * time.Second

// network raises the loopback interface and the first Ethernet one, or takes
// connections by vsock.
func (m *machine) network() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail("open socket", err)
	}
	defer func() { _ = unix.Close(socket) }()
	if err := raise(socket, "lo"); err != nil {
		return err
	}
	switch {
	case m.instance.Vsock:
		return errors.Join(m.ports(), m.relay())
	case m.instance.Prefix == 0:
		return nil
	}
	if err := await(func() error { _, err := interfaceFlags(socket, device); return err }); err != nil {
		return fail("find the network interface "+device, err)
	}
	// No address of its own making, and no wait for its being unique.
	err = os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/disable_ipv6", []byte("1"), 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := m.address(socket); err != nil {
		return err
	}
	return m.ports()
}

// await tries until what is tried is there.
func await(try func() error) error {
	for deadline := now() + int64(deviceTime); ; time.Sleep(time.Millisecond) {
		err := try()
		if err == nil || now() > deadline || !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENXIO) {
			return err
		}
	}
}

func (m *machine) address(socket int) error {
	i := m.instance
	if err := setAddress(socket, unix.SIOCSIFADDR, i.Address); err != nil {
		return fail("set address", err)
	}
	mask := ^uint32(0) << (32 - i.Prefix)
	if err := setAddress(socket, unix.SIOCSIFNETMASK, [4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}); err != nil {
		return fail("set netmask", err)
	}
	if err := raise(socket, device); err != nil {
		return err
	}
	if i.GatewayMAC != (plan.MAC{}) {
		if err := addNeighbour(socket, i.Gateway, i.GatewayMAC); err != nil {
			return fail("add neighbour", err)
		}
	}
	return fail("add route", addRoute(socket, i.Gateway))
}

// ports lets the function bind its port.
func (m *machine) ports() error {
	first := plan.FirstFree(m.plan.Port)
	if first >= 1024 {
		return nil
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte(itoa(first)), 0)
}

func interfaceFlags(socket int, name string) (uint16, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request)
	return request.Uint16(), err
}

func raise(socket int, name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return fail("raise the interface "+name, unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request))
}

func setAddress(socket int, request uint, address [4]byte) error {
	r, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	if err := r.SetInet4Addr(address[:]); err != nil {
		return err
	}
	return unix.IoctlIfreq(socket, request, r)
}

// A socketAddress is the kernel's struct sockaddr with an IPv4 address.
type socketAddress struct {
	family, port uint16
	address      [4]byte
	_            [8]byte
}

// addNeighbour tells who has an address, for good (arp(7)).
func addNeighbour(socket int, address [4]byte, mac [6]byte) error {
	const complete, permanent = 0x2, 0x4 // ATF_COM, ATF_PERM
	// struct arpreq
	var request struct {
		protocol socketAddress
		family   uint16
		mac      [14]byte
		flags    int32
		netmask  [16]byte
		device   [16]byte
	}
	request.protocol = socketAddress{family: unix.AF_INET, address: address}
	request.family = unix.ARPHRD_ETHER
	copy(request.mac[:], mac[:])
	request.flags = complete | permanent
	copy(request.device[:], device)
	return ioctl(socket, unix.SIOCSARP, unsafe.Pointer(&request))
}

// addRoute sends everything to the gateway (route(8), rtentry of
// include/uapi/linux/route.h).
func addRoute(socket int, gateway [4]byte) error {
	var request struct {
		_                             uint64
		destination, gateway, genmask socketAddress
		flags                         uint16
		_                             int16
		_, _                          uint64
		metric                        int16
		device                        uintptr
		mtu, window                   uint64
		irtt                          uint16
	}
	request.destination.family = unix.AF_INET
	request.gateway = socketAddress{family: unix.AF_INET, address: gateway}
	request.genmask.family = unix.AF_INET
	request.flags = unix.RTF_UP | unix.RTF_GATEWAY
	return ioctl(socket, unix.SIOCADDRT, unsafe.Pointer(&request))
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
