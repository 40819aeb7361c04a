// Package registry fetches manifests and blobs from image registries by the
// OCI distribution protocol (opencontainers/distribution-spec): it signs in
// with Docker's own credentials, waits when it is told to, notices a registry
// that stalls, and goes on where a connection broke off.
//
// It knows nothing of what is in a manifest or a blob.
package registry
