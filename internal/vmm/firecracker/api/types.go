package api

// BootSource says what is booted. Paths are as Firecracker sees them.
type BootSource struct {
	KernelImagePath string `json:"kernel_image_path"`
	InitrdPath      string `json:"initrd_path,omitempty"`
	// BootArgs is always sent: without it Firecracker has a command line of its
	// own.
	BootArgs string `json:"boot_args"`
}

// MachineConfig is the size of a machine.
type MachineConfig struct {
	VcpuCount  int   `json:"vcpu_count"`   // 1 to 32
	MemSizeMib int64 `json:"mem_size_mib"` // MiB
}

// A Drive is a block device. The order of the requests is the order in which
// the guest finds them, except that a root device comes first.
type Drive struct {
	DriveID      string       `json:"drive_id"` // letters, digits, underscores
	PathOnHost   string       `json:"path_on_host"`
	IsRootDevice bool         `json:"is_root_device"`
	IsReadOnly   bool         `json:"is_read_only"`
	RateLimiter  *RateLimiter `json:"rate_limiter,omitempty"`
}

// A NetworkInterface is a network device on a tap of the host.
type NetworkInterface struct {
	IfaceID       string       `json:"iface_id"`
	HostDevName   string       `json:"host_dev_name"`
	GuestMAC      string       `json:"guest_mac,omitempty"`
	RxRateLimiter *RateLimiter `json:"rx_rate_limiter,omitempty"`
	TxRateLimiter *RateLimiter `json:"tx_rate_limiter,omitempty"`
}

// A RateLimiter bounds a device, each way of counting by a bucket of its own.
type RateLimiter struct {
	Bandwidth *TokenBucket `json:"bandwidth,omitempty"` // bytes
	Ops       *TokenBucket `json:"ops,omitempty"`       // requests
}

// A TokenBucket holds Size tokens at most, and is filled from empty to full in
// RefillTime milliseconds.
type TokenBucket struct {
	Size       int64 `json:"size"`
	RefillTime int64 `json:"refill_time"`
}

// Vsock is the machine's vsock device.
type Vsock struct {
	GuestCID uint32 `json:"guest_cid"` // 3 or more
	UDSPath  string `json:"uds_path"`
}

// SnapshotCreate says where to keep a paused machine.
type SnapshotCreate struct {
	SnapshotType string `json:"snapshot_type"` // SnapshotFull
	SnapshotPath string `json:"snapshot_path"`
	MemFilePath  string `json:"mem_file_path"`
}

// SnapshotFull is a snapshot with all of the memory in it.
const SnapshotFull = "Full"

// SnapshotLoad says what to make a machine of.
type SnapshotLoad struct {
	SnapshotPath string        `json:"snapshot_path"`
	MemBackend   MemoryBackend `json:"mem_backend"`
	ResumeVM     bool          `json:"resume_vm"`
	// NetworkOverrides gives devices other taps than they had (1.12).
	NetworkOverrides []NetworkOverride `json:"network_overrides,omitempty"`
}

// A MemoryBackend is where a restored machine's memory comes from.
type MemoryBackend struct {
	BackendType string `json:"backend_type"` // MemoryFile
	BackendPath string `json:"backend_path"`
}

// MemoryFile is memory from a file that is mapped privately.
const MemoryFile = "File"

// A NetworkOverride names another tap for a device.
type NetworkOverride struct {
	IfaceID     string `json:"iface_id"`
	HostDevName string `json:"host_dev_name"`
}

// A State is that of the guest's processors.
type State string

// The states, as [Client.Describe] tells them.
const (
	NotStarted State = "Not started"
	Running    State = "Running"
	Paused     State = "Paused"
)

// An Instance is what Firecracker tells of its machine.
type Instance struct {
	ID      string `json:"id"`
	State   State  `json:"state"`
	Version string `json:"vmm_version"`
}
