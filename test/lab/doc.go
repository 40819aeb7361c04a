// Package lab tests the laboratory on a sandbox of which everything is known.
// It measures times, and is therefore among the tests that have the machine to
// themselves.
package lab
