// Package oci turns a revision into an OCI runtime specification: what gVisor
// and runc share. It starts nothing, and knows no runtime and no host but the
// revision's own root file system, in which it looks up users.
//
// The format is that of github.com/opencontainers/runtime-spec.
package oci
