// Command function is what the end-to-end tests deploy: the sandboxes'
// conformance guest, with more paths that show how the platform treats a
// function, and more ways to be a bad one.
package main

import (
	"crypto/rand"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

func main() {
	process := guest.Process{
		Args: os.Args, Getenv: os.Getenv, Environ: os.Environ,
		Stdout: os.Stdout, Stderr: os.Stderr, Exit: os.Exit, Crash: crash,
		Listen: listen,
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

func listen() (net.Listener, error) {
	port := os.Getenv(guest.PortEnv)
	if port == "" {
		port = "8080"
	}
	return net.Listen("tcp", ":"+port)
}

// crash ends the process as Go programs mostly crash. The panic is on a
// goroutine of its own: package http would recover from one in a handler.
func crash() {
	go func() { panic("crash, as asked") }()
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
