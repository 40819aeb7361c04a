// Command function is what the end-to-end tests deploy: the sandboxes'
// conformance guest, with more paths that show how the platform treats a
// function, and more ways to be a bad one.
package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

func main() {
	process := guest.Process{
		Args: os.Args, Getenv: os.Getenv, Environ: os.Environ,
		Stdout: os.Stdout, Stderr: os.Stderr, Exit: os.Exit, Kill: kill,
		Listen: func() (net.Listener, error) { return net.Listen("tcp", ":8080") },
	}
	if os.Getenv("E2E_MODE") == "deaf" {
		process.Listen = deafListener
	}
	mux := http.NewServeMux()
	(&function{token: rand.Text()}).register(mux)
	mux.Handle("/", guest.Handler(process))
	process.Handler = mux
	os.Exit(guest.Run(process))
}

func kill(signal syscall.Signal) {
	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		fmt.Fprintln(os.Stderr, "kill:", err)
	}
	select {}
}

// deafListener listens with the shortest backlog that there is, and whoever
// asks it to accept waits for ever.
func deafListener() (net.Listener, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: 8080}); err != nil {
		return nil, err
	}
	if err := syscall.Listen(fd, 1); err != nil {
		return nil, err
	}
	select {}
}
