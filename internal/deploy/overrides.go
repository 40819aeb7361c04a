package deploy

import (
	"errors"
	"fmt"

	"github.com/pelletier/go-toml/v2"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

// Overrides are keys of the native form of function.toml that are stronger
// than the file's; nil and empty ones leave the file's as they are.
type Overrides struct {
	Sandbox      *string           `json:"sandbox,omitempty"`
	Fallback     *string           `json:"fallback,omitempty"`
	Runtime      *string           `json:"runtime,omitempty"`
	Command      []string          `json:"command,omitempty"`
	Port         *int64            `json:"port,omitempty"`
	Memory       *int64            `json:"memory,omitempty"` // MiB
	CPUs         *float64          `json:"cpus,omitempty"`
	Pids         *int64            `json:"pids,omitempty"`
	Disk         *int64            `json:"disk,omitempty"` // MiB
	Concurrency  *int64            `json:"concurrency,omitempty"`
	Queue        *int64            `json:"queue,omitempty"`
	Keepalive    *string           `json:"keepalive,omitempty"`
	SingleUse    *bool             `json:"single_use,omitempty"`
	MinInstances *int64            `json:"min_instances,omitempty"`
	MaxInstances *int64            `json:"max_instances,omitempty"`
	Timeout      *string           `json:"timeout,omitempty"`
	StartTimeout *string           `json:"start_timeout,omitempty"`
	Ready        *string           `json:"ready,omitempty"`
	Health       *string           `json:"health,omitempty"`
	Env          map[string]string `json:"env,omitempty"`    // added to the file's
	Labels       map[string]string `json:"labels,omitempty"` // added to the file's
}

// table returns the overrides as a TOML document's root.
func (o *Overrides) table() map[string]any {
	t := map[string]any{}
	set(t, "sandbox", o.Sandbox)
	set(t, "fallback", o.Fallback)
	set(t, "runtime", o.Runtime)
	set(t, "port", o.Port)
	set(t, "memory", o.Memory)
	set(t, "cpus", o.CPUs)
	set(t, "pids", o.Pids)
	set(t, "disk", o.Disk)
	set(t, "concurrency", o.Concurrency)
	set(t, "queue", o.Queue)
	set(t, "keepalive", o.Keepalive)
	set(t, "single-use", o.SingleUse)
	set(t, "min-instances", o.MinInstances)
	set(t, "max-instances", o.MaxInstances)
	set(t, "timeout", o.Timeout)
	set(t, "start-timeout", o.StartTimeout)
	set(t, "ready", o.Ready)
	set(t, "health", o.Health)
	if len(o.Command) > 0 {
		t["command"] = o.Command
	}
	if len(o.Env) > 0 {
		t["env"] = o.Env
	}
	if len(o.Labels) > 0 {
		t["labels"] = o.Labels
	}
	return t
}

func set[T any](t map[string]any, key string, value *T) {
	if value != nil {
		t[key] = *value
	}
}

// apply returns a function.toml with the overrides in it; without any it is
// the text as it is.
func (o *Overrides) apply(text []byte) ([]byte, error) {
	changes := o.table()
	if len(changes) == 0 {
		return text, nil
	}
	return edit(text, func(root map[string]any) error {
		for key, value := range changes {
			if names, ok := value.(map[string]string); ok {
				mergeInto(root, key, names)
			} else {
				root[key] = value
			}
		}
		return nil
	})
}

// mergeInto adds names to the table called key.
func mergeInto(root map[string]any, key string, names map[string]string) {
	table, ok := root[key].(map[string]any)
	if !ok {
		table = map[string]any{}
		root[key] = table
	}
	for name, value := range names {
		table[name] = value
	}
}

// edit decodes text, which is known to be valid, and encodes what change made
// of it.
func edit(text []byte, change func(root map[string]any) error) ([]byte, error) {
	root := map[string]any{}
	if err := toml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("decode %s: %w", catalog.FileName, err)
	}
	if err := change(root); err != nil {
		return nil, err
	}
	out, err := toml.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", catalog.FileName, err)
	}
	return out, nil
}

// pinImage puts a registry reference into the place where the file has one.
func pinImage(text []byte, reference string) ([]byte, error) {
	return edit(text, func(root map[string]any) error {
		if container, ok := root["container"].(map[string]any); ok {
			container["image"] = reference
		} else {
			root["image"] = reference
		}
		return nil
	})
}

// inFlags says of problems of the merged file that they come from the flags:
// the file alone had none. Its lines are not the user's.
func inFlags(err error) error {
	var problems catalog.Problems
	if !errors.As(err, &problems) {
		return err
	}
	own := make(catalog.Problems, len(problems))
	for i, p := range problems {
		own[i] = catalog.Problem{File: "flags", Message: p.Message}
	}
	return faas.Errorf(faas.KindInvalid, "%w", own)
}
