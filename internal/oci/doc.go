// Package oci turns a revision into an OCI runtime specification, and knows
// Docker's default protections: what gVisor, runc and the built-in container
// share. It starts nothing, and knows no runtime and no host but the
// revision's own root file system, in which it looks up users, and the
// kernel's version and processors.
//
// The format is that of github.com/opencontainers/runtime-spec; the
// protections are those of github.com/moby/moby, daemon/pkg/oci/defaults.go,
// and github.com/moby/profiles.
package oci
