package linux

import (
	"embed"
	"errors"
)

// embedded holds the guest's first process where `make build` has put it.
//
//go:embed all:embedded
var embedded embed.FS

// ErrNoInit is returned by a build without the guest's first process.
var ErrNoInit = errors.New("this build has no first process for Linux guests; make build puts it in")

// InitProgram returns the first process of guests, a static program.
func InitProgram() ([]byte, error) {
	program, err := embedded.ReadFile("embedded/init")
	if err != nil {
		return nil, ErrNoInit
	}
	return program, nil
}
