// Command hello-go is the smallest function in Go: it answers / and /hello.
package main

import (
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	log.Fatal(http.ListenAndServe(":"+port, handler()))
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", hello)
	mux.HandleFunc("/hello", hello)
	return mux
}

func hello(w http.ResponseWriter, _ *http.Request) {
	// A client that has gone away needs no greeting.
	_, _ = io.WriteString(w, "Hello from Go\n")
}
