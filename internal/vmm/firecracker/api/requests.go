package api

import (
	"context"
	"encoding/json"
	"net/http"
)

// Version returns Firecracker's version, for instance "1.16.1".
func (c *Client) Version(ctx context.Context) (string, error) {
	var answer struct {
		Version string `json:"firecracker_version"`
	}
	err := c.do(ctx, http.MethodGet, "/version", nil, &answer)
	return answer.Version, err
}

// Describe tells the machine's state.
func (c *Client) Describe(ctx context.Context) (Instance, error) {
	var i Instance
	err := c.do(ctx, http.MethodGet, "/", nil, &i)
	return i, err
}

// PutMachineConfig sets the machine's size.
func (c *Client) PutMachineConfig(ctx context.Context, m MachineConfig) error {
	return c.put(ctx, "/machine-config", m)
}

// PutCPUConfig sets what the guest sees of the processor. config is passed
// through: it is for whoever knows the processor.
func (c *Client) PutCPUConfig(ctx context.Context, config json.RawMessage) error {
	return c.put(ctx, "/cpu-config", config)
}

// PutBootSource sets what is booted.
func (c *Client) PutBootSource(ctx context.Context, b BootSource) error {
	return c.put(ctx, "/boot-source", b)
}

// PutDrive adds a drive.
func (c *Client) PutDrive(ctx context.Context, d Drive) error {
	return c.put(ctx, "/drives/"+d.DriveID, d)
}

// PutNetworkInterface adds a network device.
func (c *Client) PutNetworkInterface(ctx context.Context, n NetworkInterface) error {
	return c.put(ctx, "/network-interfaces/"+n.IfaceID, n)
}

// PutVsock adds the vsock device.
func (c *Client) PutVsock(ctx context.Context, v Vsock) error {
	return c.put(ctx, "/vsock", v)
}

// PutEntropy adds a device that gives the guest the host's random bytes.
func (c *Client) PutEntropy(ctx context.Context) error {
	return c.put(ctx, "/entropy", struct{}{})
}

// StartInstance runs the machine that has been configured.
func (c *Client) StartInstance(ctx context.Context) error {
	return c.put(ctx, "/actions", struct {
		ActionType string `json:"action_type"`
	}{"InstanceStart"})
}

// PauseVM stops the guest's processors.
func (c *Client) PauseVM(ctx context.Context) error { return c.patchVM(ctx, "Paused") }

// ResumeVM lets them go on.
func (c *Client) ResumeVM(ctx context.Context) error { return c.patchVM(ctx, "Resumed") }

func (c *Client) patchVM(ctx context.Context, state string) error {
	return c.do(ctx, http.MethodPatch, "/vm", struct {
		State string `json:"state"`
	}{state}, nil)
}

// CreateSnapshot keeps a paused machine.
func (c *Client) CreateSnapshot(ctx context.Context, s SnapshotCreate) error {
	return c.put(ctx, "/snapshot/create", s)
}

// LoadSnapshot makes the machine of a snapshot, instead of configuring it.
func (c *Client) LoadSnapshot(ctx context.Context, s SnapshotLoad) error {
	return c.put(ctx, "/snapshot/load", s)
}

func (c *Client) put(ctx context.Context, path string, body any) error {
	return c.do(ctx, http.MethodPut, path, body, nil)
}
