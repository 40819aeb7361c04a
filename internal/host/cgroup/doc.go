// Package cgroup limits, measures and kills groups of processes with Linux
// control groups: version 1, version 2, and both at once (hybrid).
//
// A group is one name below one parent, made in every hierarchy that matters,
// so that the rest of the platform need not know how many there are. The
// package has no policy: names, limits and what is done when a hierarchy is
// missing are its caller's business.
//
// Formats: Linux's Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst.
package cgroup
