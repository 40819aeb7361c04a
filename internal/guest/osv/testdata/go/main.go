// Command go is a program that is prepared for OSv, and runs on Linux all the
// same.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	fmt.Println(strings.Join(os.Args[1:], " "), os.Getenv("GREETING"))
}
