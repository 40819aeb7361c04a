package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// stats asks the Engine for a measurement of a container. It is for those
// whose cgroup is not to be found from here: the answer takes the Engine some
// milliseconds.
func (e *engine) stats(ctx context.Context, name string) (sandbox.Stats, error) {
	r, err := e.ContainerStats(ctx, name, client.ContainerStatsOptions{})
	if err != nil {
		return sandbox.Stats{}, fmt.Errorf("measure container %q: %w", name, err)
	}
	defer func() { _ = r.Body.Close() }()
	var s container.StatsResponse
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		return sandbox.Stats{}, fmt.Errorf("measure container %q: %w", name, err)
	}
	memory := s.MemoryStats.Usage
	// The file cache that can be dropped: its name in version 1, and in 2.
	for _, key := range []string{"total_inactive_file", "inactive_file"} {
		if cache, ok := s.MemoryStats.Stats[key]; ok {
			memory -= min(cache, memory)
			break
		}
	}
	return sandbox.Stats{
		Memory: int64(memory),
		CPU:    time.Duration(s.CPUStats.CPUUsage.TotalUsage),
		Pids:   int(s.PidsStats.Current),
	}, nil
}
