package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
)

// A migration is how QEMU's moving of a machine's state goes, as its events
// say (QEMU, qapi/migration.json: MigrationStatus).
type migration struct {
	mu      sync.Mutex
	status  string
	changed chan struct{} // closed and replaced at each change
}

// note takes an event's data.
func (m *migration) note(data json.RawMessage) {
	var event struct {
		Status string `json:"status"`
	}
	_ = json.Unmarshal(data, &event)
	m.set(event.Status)
}

func (m *migration) set(status string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status = status
	if m.changed != nil {
		close(m.changed)
	}
	m.changed = make(chan struct{})
}

func (m *migration) get() (status string, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status, m.changed
}

// moved returns when all is moved, or why it is not. The status must have been
// set to "" before the move began.
func (m *machine) moved(ctx context.Context) error {
	for {
		status, changed := m.migration.get()
		switch status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return m.whyNotMoved(ctx, status)
		}
		select {
		case <-changed:
		case <-m.conn.Done():
			return fmt.Errorf("QEMU ended while it moved the machine's state (%s)", status)
		case <-ctx.Done():
			return fmt.Errorf("move the machine's state (%s): %w", status, ctx.Err())
		}
	}
}

func (m *machine) whyNotMoved(ctx context.Context, status string) error {
	var info struct {
		Fault string `json:"error-desc"`
	}
	if err := m.execute(ctx, "query-migrate", nil, &info); err == nil && info.Fault != "" {
		status = info.Fault
	}
	return fmt.Errorf("QEMU did not move the machine's state: %s", status)
}

// prepare sets how the machine's state is moved: with events, and without the
// memory, where that is a file that is copied besides.
func (m *machine) prepare(ctx context.Context, ignoreMemory bool) error {
	type capability struct {
		Capability string `json:"capability"`
		State      bool   `json:"state"`
	}
	err := m.execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": []capability{
		{"events", true}, {"x-ignore-shared", ignoreMemory},
	}}, nil)
	if err != nil {
		return err
	}
	// Bounds for a network, bytes per second and milliseconds.
	return m.execute(ctx, "migrate-set-parameters", map[string]any{
		"max-bandwidth": int64(1) << 40, "downtime-limit": 60_000,
	}, nil)
}
