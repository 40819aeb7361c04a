// Package api speaks Firecracker's HTTP API over its unix socket: the requests
// that the platform makes, and no others. It knows what travels, and nothing
// of machines, folders or processes. A request that Firecracker refuses is a
// [vmm.APIError] with its status and fault message.
//
// Source: firecracker-microvm/firecracker, src/firecracker/swagger/firecracker.yaml
// (until 1.6 src/api_server/swagger), releases 1.4 to 1.16 and the state of
// 1.17; what came later than 1.4 is marked so. Firecracker refuses fields that
// it does not know, so those are left out unless they are set.
package api
