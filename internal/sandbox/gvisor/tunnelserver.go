package gvisor

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	gcontext "gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/fd"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"
	"gvisor.dev/gvisor/pkg/sentry/socket/netstack"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/unet"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// sinkName names the trace sink by which the tunnel sees a program listen.
	sinkName = "unifaas-tunnel"
	// connectTimeout bounds one connection attempt inside: a program whose
	// backlog is full does not answer.
	connectTimeout = 10 * time.Minute
)

// listenNumber is the number of listen(2).
var listenNumber = map[string]int{"amd64": 50, "arm64": 201}[runtime.GOARCH]

// traceConfig makes gVisor tell the sink of each listen(2) that has returned,
// in the form of its --pod-init-config.
func traceConfig() []byte {
	return fmt.Appendf(nil,
		`{"trace_session":{"name":"Default","points":[{"name":"syscall/sysno/%d/exit"}],"sinks":[{"name":%q}]}}`,
		listenNumber, sinkName)
}

// A tunnelServer is the tunnel's end inside the sandbox. Programs of the
// sandbox can't reach it, and it reaches only their ports.
//
// It is a sink of gVisor's tracing because a traced call is how it gets at the
// network stack, and because the call that it has traced, listen, is the very
// moment for which a platform waits that has started a function.
type tunnelServer struct {
	seccheck.SinkDefaults

	mu       sync.Mutex
	stack    *stack.Stack  // nil until something has listened
	listened chan struct{} // closed, and replaced, at each listen
}

// offerTunnel makes the server known to gVisor, which starts it when it boots.
func offerTunnel(socket int) {
	seccheck.RegisterSink(seccheck.SinkDesc{
		Name: sinkName,
		New: func(map[string]any, *fd.FD) (seccheck.Sink, error) {
			requests, err := unet.NewSocket(socket)
			if err != nil {
				return nil, fmt.Errorf("open tunnel: %w", err)
			}
			s := &tunnelServer{listened: make(chan struct{})}
			go s.serve(requests)
			return s, nil
		},
	})
}

// Name implements seccheck.Sink.
func (*tunnelServer) Name() string { return sinkName }

// RawSyscall implements seccheck.Sink: a program has called listen.
func (s *tunnelServer) RawSyscall(ctx gcontext.Context, _ seccheck.FieldSet, _ *pb.Syscall) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := kernel.KernelFromContext(ctx); s.stack == nil && k != nil {
		if inside, ok := k.RootNetworkNamespace().Stack().(*netstack.Stack); ok {
			s.stack = inside.Stack
		}
	}
	close(s.listened)
	s.listened = make(chan struct{})
	return nil
}

func (s *tunnelServer) state() (*stack.Stack, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stack, s.listened
}

// serve receives requests. What is not one is dropped with what came with it.
func (s *tunnelServer) serve(socket *unet.Socket) {
	for {
		reader := socket.Reader(true)
		reader.EnableFDs(1)
		b := make([]byte, tunnelRequestSize)
		n, err := reader.ReadVec([][]byte{b})
		fds, _ := reader.ExtractFDs()
		if err != nil && len(fds) == 0 && n == 0 {
			return
		}
		req, ok := decodeTunnelRequest(b[:max(n, 0)])
		if !ok || err != nil || len(fds) != 1 {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			continue
		}
		go s.handle(req, fds[0])
	}
}

func (s *tunnelServer) handle(req tunnelRequest, fd int) {
	host := newHostEnd(fd)
	defer host.close()
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	go host.hangup(ctx.Done(), cancel)
	inside := s.connect(ctx, req)
	cancel()
	if inside == nil {
		_, _ = unix.Write(fd, []byte{tunnelRefused})
		return
	}
	defer inside.ep.Close()
	if _, err := unix.Write(fd, []byte{tunnelConnected}); err != nil {
		return
	}
	join(host, inside)
}

// connect connects to a port inside; nil is a refusal. A request that may wait
// is tried again at each listen.
func (s *tunnelServer) connect(ctx context.Context, req tunnelRequest) *insideEnd {
	for {
		// Taken before the attempt, so that no listen falls between the two.
		inside, listened := s.state()
		if inside != nil {
			if end := dialInside(ctx, inside, req.port); end != nil {
				return end
			}
		}
		if !req.wait {
			return nil
		}
		select {
		case <-listened:
		case <-ctx.Done():
			return nil
		}
	}
}

// dialInside connects to 127.0.0.1 in the sandbox's own network stack.
func dialInside(ctx context.Context, s *stack.Stack, port uint16) *insideEnd {
	end := &insideEnd{}
	ep, err := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &end.queue)
	if err != nil {
		return nil
	}
	end.ep = ep
	entry, connected := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	end.queue.EventRegister(&entry)
	defer end.queue.EventUnregister(&entry)
	err = ep.Connect(tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{127, 0, 0, 1}), Port: port})
	if _, started := err.(*tcpip.ErrConnectStarted); started {
		select {
		case <-connected:
			err = ep.LastError()
		case <-ctx.Done():
			err = &tcpip.ErrTimeout{}
		}
	}
	if err != nil {
		ep.Close()
		return nil
	}
	ep.SocketOptions().SetDelayOption(false)
	return end
}
