// Command artefact behaves as the functions of the paper's artefact do: it
// calls back before it listens, and ends if it can't.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Println("no callback")
		os.Exit(1)
	}
	resp, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Println("callback:", err)
		os.Exit(1)
	}
	fmt.Println("callback:", resp.Status)
	// So that who takes the callback for readiness fails.
	time.Sleep(100 * time.Millisecond)
	http.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, os.Getenv("VERSION"))
	})
	http.HandleFunc("/write", func(w http.ResponseWriter, _ *http.Request) {
		if err := os.WriteFile("/written", []byte("x"), 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	fmt.Println(http.ListenAndServe(":8080", nil))
}
