// Command benchmark is the function that measures sandboxes: it does one
// workload a path, in the manner of the paper "Are Unikernels Ready for
// Serverless on the Edge?" (Moebius, Pfandzelter, Bermbach, 2024).
//
//	/hello         a short text
//	/fib?n=        the n-th Fibonacci number, modulo 2^64, by n additions
//	/fft?n=        a Fourier transform of n random points
//	/matrix?n=     a product of two random n x n matrices
//	/read          reads the archive, 50 MiB, into memory
//	/unzip         unpacks the archive, 10 files of 5 MiB, to the disk
//	/alloc?mib=    allocates memory and touches every page of it
//	/static?size=  a body of that many bytes, 64 by default
//	/echo          the request's body
//
// All but /hello, /static and /echo answer with JSON, in which "seconds" is
// the time that the work took as the function saw it.
package main

import (
	"log"
	"net/http"
	"os"
)

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	archive := os.Getenv("ARCHIVE")
	if archive == "" {
		archive = "/data/archive.zip"
	}
	log.Fatal(http.ListenAndServe(":"+port, handler(archive)))
}
