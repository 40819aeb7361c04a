package osv

import (
	"errors"
	"fmt"
	"strings"

	"github.com/unifaas/unifaas/internal/image/closure"
)

// supplied are the libraries that are part of OSv's kernel (OSv, core/elf.cc).
var supplied = []string{
	"ld-linux-x86-64.so.2", "libresolv.so.2", "libc.so.6", "libm.so.6", "libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1",
	"libpthread.so.0", "libdl.so.2", "librt.so.1", "libstdc++.so.6", "libaio.so.1", "libxenstore.so.3.0", "libcrypt.so.1", "libutil.so",
}

// searched are the folders in which OSv looks for others.
var searched = []string{"/", "/usr/lib"}

// checkOwn looks for what the program at an absolute path needs that OSv links
// itself.
func (r root) checkOwn(n closure.Needs, program string, isGo bool) error {
	if isGo {
		return errors.New("it is a dynamically linked Go program, for which the image has no dynamic linker; build it with CGO_ENABLED=0 and without -buildmode=pie")
	}
	if missing := r.Missing(n, program, searched, supplied); len(missing) > 0 {
		return fmt.Errorf("it needs %s, which OSv looks for in %s and does not find there; put them there by [files] or in the image, or the program's own dynamic linker, or link it statically",
			strings.Join(missing, ", "), strings.Join(searched, " and "))
	}
	return nil
}
