// Command artefact is a function as the paper's artefact has them in virtual
// machines: the first and only process, told its network and whom to call on
// the kernel's command line. It calls back before it listens. In a unikernel,
// which sees to the network itself, its argument or the variable CALLBACK is
// whom to call.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("artefact:", err)
	}
	// The first process ends: the kernel panics.
}

func run() error {
	callback, greeting := os.Getenv("CALLBACK"), "hello"
	if len(os.Args) > 1 {
		callback = os.Args[1]
	}
	if callback == "" {
		words, err := boot()
		if err != nil {
			return err
		}
		callback, greeting = words["guest.callback"], words["guest.greeting"]
	}
	return serve(callback, greeting)
}

// boot does for a Linux guest what a unikernel does itself, and returns the
// kernel's command line.
func boot() (words map[string]string, err error) {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return nil, err
	}
	if err := unix.Mount("dev", "/dev", "devtmpfs", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return nil, err
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	words = map[string]string{}
	for _, word := range strings.Fields(string(text)) {
		name, value, _ := strings.Cut(word, "=")
		words[name] = value
	}
	return words, setAddress("eth0", words["guest.ip"], words["guest.mask"])
}

func serve(callback, greeting string) error {
	resp, err := http.Get(callback)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the callback was answered %s", resp.Status)
	}
	http.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, greeting) })
	http.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { os.Exit(1) })
	http.HandleFunc("/write", func(w http.ResponseWriter, _ *http.Request) {
		disk, err := os.OpenFile("/dev/vda", os.O_RDWR, 0)
		if err == nil {
			defer disk.Close()
			old := make([]byte, 512)
			_, err = disk.ReadAt(old, 0)
			if err == nil {
				_, err = disk.WriteAt(bytes.Repeat([]byte{'w'}, 512), 0)
			}
			fmt.Fprintf(w, "%v", old[0] == 'w')
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	fmt.Println("artefact: serving")
	return http.ListenAndServe(":8080", nil)
}

// setAddress gives an interface its address and switches it on (netdevice(7)).
func setAddress(name, address, mask string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := set(fd, unix.SIOCSIFADDR, name, address); err != nil {
		return fmt.Errorf("set address %q: %w", address, err)
	}
	if err := set(fd, unix.SIOCSIFNETMASK, name, mask); err != nil {
		return fmt.Errorf("set mask %q: %w", mask, err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// set does a request whose argument is an address: struct ifreq, a name of 16
// bytes and a struct sockaddr_in.
func set(fd int, request uint, name, value string) error {
	var ifreq [40]byte
	copy(ifreq[:15], name)
	ifreq[16] = unix.AF_INET
	copy(ifreq[20:24], net.ParseIP(value).To4())
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&ifreq[0])))
	if errno != 0 {
		return errno
	}
	return nil
}
