package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/vmm"
)

// serve answers each request with answer, and returns a client. Requests go to
// the channel, as "METHOD PATH BODY".
func serve(t *testing.T, answer string) (*Client, <-chan string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(conn, answer, requests)
		}
	}()
	c := New(path)
	t.Cleanup(func() { _ = errors.Join(c.Close(), l.Close()) })
	return c, requests
}

func answerAll(conn net.Conn, answer string, requests chan<- string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		requests <- strings.TrimSpace(r.Method + " " + r.URL.Path + " " + string(body))
		if answer == "" {
			continue
		}
		_, _ = io.WriteString(conn, answer)
	}
}

const noContent = "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"

func TestEveryRequest(t *testing.T) {
	c, requests := serve(t, noContent)
	ctx := t.Context()
	for _, r := range []struct {
		err  error
		want string
	}{
		{c.PutMachineConfig(ctx, MachineConfig{2, 256}), `PUT /machine-config {"vcpu_count":2,"mem_size_mib":256}`},
		{c.PutCPUConfig(ctx, []byte(`{"kvm_capabilities":["!56"]}`)), `PUT /cpu-config {"kvm_capabilities":["!56"]}`},
		{c.PutBootSource(ctx, BootSource{KernelImagePath: "k"}), `PUT /boot-source {"kernel_image_path":"k","boot_args":""}`},
		{c.PutDrive(ctx, Drive{DriveID: "a", PathOnHost: "b"}), `PUT /drives/a {"drive_id":"a","path_on_host":"b","is_root_device":false,"is_read_only":false}`},
		{c.PutNetworkInterface(ctx, NetworkInterface{IfaceID: "e", HostDevName: "t"}), `PUT /network-interfaces/e {"iface_id":"e","host_dev_name":"t"}`},
		{c.PutVsock(ctx, Vsock{3, "v"}), `PUT /vsock {"guest_cid":3,"uds_path":"v"}`},
		{c.PutEntropy(ctx), `PUT /entropy {}`},
		{c.StartInstance(ctx), `PUT /actions {"action_type":"InstanceStart"}`},
		{c.PauseVM(ctx), `PATCH /vm {"state":"Paused"}`},
		{c.ResumeVM(ctx), `PATCH /vm {"state":"Resumed"}`},
		{c.CreateSnapshot(ctx, SnapshotCreate{SnapshotFull, "s", "m"}), `PUT /snapshot/create {"snapshot_type":"Full","snapshot_path":"s","mem_file_path":"m"}`},
		{c.LoadSnapshot(ctx, SnapshotLoad{SnapshotPath: "s", MemBackend: MemoryBackend{MemoryFile, "m"}}),
			`PUT /snapshot/load {"snapshot_path":"s","mem_backend":{"backend_type":"File","backend_path":"m"},"resume_vm":false}`},
	} {
		if r.err != nil {
			t.Errorf("%s: %v", r.want, r.err)
		}
		if diff := cmp.Diff(r.want, <-requests); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
	}
}

func TestAnswers(t *testing.T) {
	c, _ := serve(t, "HTTP/1.1 200 \r\nContent-Type: application/json\r\nContent-Length: 79\r\n\r\n"+
		`{"id":"t","state":"Running","vmm_version":"1.16.1","firecracker_version":"1.x"}`)
	if v, err := c.Version(t.Context()); err != nil || v != "1.x" {
		t.Errorf("version: got %q, %v", v, err)
	}
	i, err := c.Describe(t.Context())
	if diff := cmp.Diff(Instance{"t", Running, "1.16.1"}, i); err != nil || diff != "" {
		t.Errorf("instance: %v (-want +got):\n%s", err, diff)
	}
}

func TestRefusal(t *testing.T) {
	long := strings.Repeat("é", 4000)
	for body, want := range map[string]string{
		`{"fault_message":"Boot source error:\n\tno\u0007"}`: "Boot source error: no",
		`{"fault_message":""}`:                               `{"fault_message":""}`,
		"nginx says no\xff":                                  "nginx says no",
		"":                                                   "it gave no reason",
		long:                                                 strings.Repeat("é", maxFault/2),
	} {
		err := refusal("PUT /x", 400, []byte(body))
		if diff := cmp.Diff(error(&vmm.APIError{Monitor: "firecracker", Request: "PUT /x", Status: 400, Fault: want}), err); diff != "" {
			t.Errorf("%.40q (-want +got):\n%s", body, diff)
		}
	}
}

// TestDeadline: a request that is not answered ends, and the next is not
// answered by what was meant for it.
func TestDeadline(t *testing.T) {
	c, requests := serve(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.PutEntropy(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-requests
	if c.conn != nil {
		t.Error("the connection is kept")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.PutEntropy(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	if _, err := New(filepath.Join(t.TempDir(), strings.Repeat("x", 200))).Version(t.Context()); err == nil || !strings.Contains(err.Error(), "GET /version") {
		t.Errorf("got %v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(noContent))
	f.Add([]byte("HTTP/1.1 400 \r\nContent-Length: 21\r\n\r\n" + `{"fault_message":"x"}`))
	f.Add([]byte("HTTP/1.1 200 OK\nContent-Length: -1\n\n"))
	f.Add([]byte("HTTP/1.1 99\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		status, body, err := readAnswer(bufio.NewReaderSize(strings.NewReader(string(text)), maxLine))
		if err != nil {
			return
		}
		if status < 200 || status > 599 || len(body) > maxAnswer || len(body) > len(text) {
			t.Errorf("%q: got %d, %d bytes", text, status, len(body))
		}
		if fault := refusal("x", status, body).Error(); strings.ContainsAny(fault, "\n\r\x00") {
			t.Errorf("%q: the fault is %q", text, fault)
		}
	})
}
