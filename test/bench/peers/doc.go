// Package peers runs what the platform is compared with: nginx; a function that
// is cloned and executed in namespaces and no more; runc and gVisor's own
// command runsc without a platform; and Docker. Each is configured as someone
// would who wants it to look good. It measures nothing.
package peers
