package leak

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/google/nftables"
)

// addTables lists the tables of nftables in this process's network namespace.
func addTables(s *scope, state State) error {
	if len(s.names) == 0 {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("ask for nftables: %w", err)
	}
	tables, err := c.ListTables()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPROTONOSUPPORT) {
		return nil // a kernel without nftables has none
	}
	if err != nil && !vanished(err) {
		return fmt.Errorf("list tables of nftables: %w", err)
	}
	for _, t := range tables {
		if s.named(t.Name) {
			state.add("nftables table %s", t.Name)
		}
	}
	return nil
}
