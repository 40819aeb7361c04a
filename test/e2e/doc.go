// Package e2e tests the whole binary as a user runs it: one or more platforms
// as processes of their own, real sandboxes, requests over loopback.
//
// It must not import the sandboxes: what it knows of a platform it knows from
// its flags, its sockets, its files and its log. The binary is built once, or
// taken from UNIFAAS_BINARY. As root the tests run beside a dockerd of their
// own, in a network of their own.
//
// Environment variables that scale it:
//
//	UNIFAAS_BINARY      binary to test instead of building one
//	UNIFAAS_SAMPLES     built sample functions, instead of building them
//	UNIFAAS_REQUIRE     sandboxes for which a skip is a failure
//	UNIFAAS_E2E_CYCLES  cold starts and stops of the leak test, 200
//	UNIFAAS_E2E_SECONDS how long a resource stays exhausted, 10
//	UNIFAAS_E2E_COUNT   functions that are deployed at once, 1000
//	UNIFAAS_E2E_SEED    seed of everything random
package e2e
