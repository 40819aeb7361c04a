package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// TestChurnLeavesNothing is two hundred cold starts and stops of several
// functions, of which a third end by violence at a random moment: of the
// function, of its sandbox, of the platform. newPlatform's cleanup checks
// that nothing is left on the host.
func TestChurnLeavesNothing(t *testing.T) {
	for sandbox, life := range map[string]time.Duration{
		"gvisor": 400 * time.Millisecond, "container": 40 * time.Millisecond, "runc": 200 * time.Millisecond,
	} {
		t.Run(sandbox, func(t *testing.T) {
			t.Parallel() // each waits for most of its time
			needsSandbox(t, sandbox)
			p := newPlatform(t)
			churnIn(t, p, always(fmt.Sprintf("sandbox = %q", sandbox)), manyCycles, life, func(pid int) bool { return isOf(pid, p.status.Node) })
		})
	}
	// One after the other, as the victims of one are all that is in Docker.
	t.Run("docker", func(t *testing.T) {
		t.Parallel()
		t.Run("runc", func(t *testing.T) {
			p, daemon := newDockerPlatform(t)
			churnInDocker(t, p, daemon, `sandbox = "docker"`, 700*time.Millisecond)
		})
		t.Run("runsc", func(t *testing.T) {
			p, daemon := newDockerPlatform(t)
			churnInDocker(t, p, daemon, "sandbox = \"docker\"\nruntime = \""+daemon.Runsc(t)+"\"", 1500*time.Millisecond)
		})
	})
}

// churnInDocker has processes in containers for victims, and the shims that
// tend them. Control groups are between the runtime and the Engine: runsc
// forgets those of a container that is killed while it is made, which
// dockertest clears away.
func churnInDocker(t *testing.T, p *platform, daemon *dockertest.Daemon, lines string, life time.Duration) {
	functions := churnIn(t, p, always(lines), manyCycles, life, func(pid int) bool { return daemon.Contains(pid) || daemon.Tends(pid) })
	p.start(t)
	p.wantNoImages(t, daemon, functions...)
	p.stop(t)
	clearOrphans(t, daemon)
	eventually(t, "the last process of Docker's to end", func() bool {
		return len(processesThat(func(pid int) bool { return daemon.Contains(pid) || daemon.Tends(pid) })) == 0
	})
}

// manyCycles is how many starts and stops there are of what starts fast.
const manyCycles = 200

func always(lines string) func(int) string { return func(int) string { return lines } }

// churnIn has violence come within life, about what an instance lives. lines
// of the i-th function.toml name the sandbox, isVictim knows its processes. It
// returns the functions, and leaves the platform stopped.
func churnIn(t *testing.T, p *platform, lines func(i int) string, cycles int, life time.Duration, isVictim func(pid int) bool) []string {
	c := &churn{
		T: t, platform: p, life: life, isVictim: isVictim,
		cycles: setting(t, "UNIFAAS_E2E_CYCLES", cycles), seed: uint64(setting(t, "UNIFAAS_E2E_SEED", 1)),
	}
	for i := range 4 {
		c.functions = append(c.functions, c.platform.deploy(t, fmt.Sprintf("churn-%d", i), lines(i)+"\nsingle-use = true"))
	}
	c.platform.start(t)
	node := c.platform.status.Node
	const workers = 3
	var all sync.WaitGroup
	for range workers {
		all.Go(c.work)
	}
	all.Wait()
	t.Logf("%d cycles: killed %d functions, %d sandboxes (and %d times there was none), %d platforms; %d requests were disturbed",
		c.cycles, c.killed[byFunction].Load(), c.killed[bySandbox].Load(), c.missed.Load(), c.killed[byPlatform].Load(), c.disturbed.Load())
	if n := c.killed[byFunction].Load() + c.killed[bySandbox].Load() + c.killed[byPlatform].Load(); int(n) < c.cycles/3 {
		t.Errorf("only %d of %d cycles ended by violence, want a third", n, c.cycles)
	}

	c.platform.stop(t)
	c.platform.start(t)
	if c.platform.status.Node != node {
		t.Errorf("the node was %s, is %s", node, c.platform.status.Node)
	}
	for _, f := range c.functions {
		c.platform.want(t, f, "/hello")
	}
	c.platform.stop(t)
	c.wantBoundedLogs()
	return c.functions
}

// maxHoldBack is how long after a start that was killed another one may be
// refused.
const maxHoldBack = 5 * time.Second

type violence int

const (
	peace violence = iota
	byFunction
	bySandbox
	byPlatform
	kinds
)

// A churn is the state of the test above.
type churn struct {
	*testing.T
	platform  *platform
	functions []string
	life      time.Duration
	isVictim  func(pid int) bool
	cycles    int
	seed      uint64

	next      atomic.Int64
	killed    [kinds]atomic.Int64 // that has really hit something
	missed    atomic.Int64
	disturbed atomic.Int64
	// storms counts the begins and the ends of violent acts that may hit
	// anybody's request: one during which it did not change must succeed.
	storms atomic.Int64
	// hit is when the last sandbox was killed, nanoseconds since 1970. If that
	// was during its start, the function's next starts are held back.
	hit atomic.Int64
	// up is held for reading while a request is prepared, for writing while
	// there is no platform.
	up sync.RWMutex
}

func (c *churn) work() {
	for {
		i := int(c.next.Add(1)) - 1
		if i >= c.cycles || c.Failed() {
			return
		}
		// A generator of its own for each cycle: what happens in it does not
		// depend on which worker takes it, or when.
		c.cycle(i, rand.New(rand.NewPCG(c.seed, uint64(i))))
	}
}

func (c *churn) cycle(i int, rng *rand.Rand) {
	function := c.functions[i%len(c.functions)]
	how := peace
	// Four of five: on a busy machine half of them find no victim, and at least
	// a third shall.
	if rng.IntN(5) < 4 {
		how = violence(1 + rng.IntN(int(kinds)-1))
	}
	moment := time.Duration(rng.Int64N(int64(c.life)))
	path := "/hello"
	switch how {
	case byFunction:
		path = []string{"/exit?code=1", "/exit?code=0", "/crash"}[rng.IntN(3)]
	case bySandbox:
		// Some live long enough to be found in the midst of a request.
		path = fmt.Sprint("/sleep?ms=", rng.IntN(200))
	}
	c.up.RLock()
	url, storms := c.platform.at(function, path), c.storms.Load()
	c.up.RUnlock()
	answered, done := make(chan error, 1), make(chan struct{})
	heldBack := false // read after answered
	go func() {
		defer close(done)
		a, err := fetch(context.Background(), "GET", url, nil)
		heldBack = err == nil && a.header.Get("Retry-After") != "" &&
			time.Since(time.Unix(0, c.hit.Load())) < maxHoldBack
		answered <- judge(how, a, err)
	}()
	switch how {
	case bySandbox:
		time.Sleep(moment)
		c.killSandbox(rng, done)
	case byPlatform:
		time.Sleep(moment)
		c.killPlatform()
	}
	err := <-answered
	if how == byFunction && err == nil {
		c.killed[byFunction].Add(1) // the answer says so
	}
	switch {
	case err == nil:
	case strings.Contains(err.Error(), context.DeadlineExceeded.Error()):
		c.Errorf("cycle %d (%s): no answer in %v", i, path, patience)
	case c.storms.Load() != storms, heldBack:
		c.disturbed.Add(1)
	default:
		c.Errorf("cycle %d (%s), which nothing disturbed: %v", i, path, err)
	}
}

func judge(how violence, a answer, err error) error {
	if err != nil {
		return err
	}
	want := 200
	if how == byFunction {
		want = 502
	}
	if a.status != want {
		return fmt.Errorf("status %d, want %d: %s", a.status, want, a.body)
	}
	return nil
}

// killSandbox kills one of the platform's processes that is not the platform:
// a sandbox, what tends it, or a process of the function inside. Where there is
// none at the moment it waits for one: for its own cycle's until done, then for
// one of the other workers', if there comes any.
func (c *churn) killSandbox(rng *rand.Rand, done <-chan struct{}) {
	var last <-chan time.Time
	for !c.killOne(rng) {
		select {
		case <-done:
			done, last = nil, time.After(2*time.Second)
		case <-last:
			c.missed.Add(1)
			return
		case <-time.After(time.Duration(rng.Int64N(int64(c.life)/20 + 1))):
		}
	}
}

// killOne reports whether it has killed somebody.
func (c *churn) killOne(rng *rand.Rand) bool {
	c.up.RLock()
	defer c.up.RUnlock()
	victims := processesThat(c.isVictim)
	if len(victims) == 0 {
		return false
	}
	victim := victims[rng.IntN(len(victims))]
	fd, err := unix.PidfdOpen(victim, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// Only now is it sure that the number still means the same process; one
	// that has ended, and nobody has waited for, is no victim.
	if !c.isVictim(victim) || ended(fd) {
		return false
	}
	c.storms.Add(1)
	defer c.storms.Add(1)
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
		return false
	}
	c.killed[bySandbox].Add(1)
	c.hit.Store(time.Now().UnixNano())
	return true
}

// ended reports whether the process of a pidfd has: it can be read then.
func ended(pidfd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

func (c *churn) killPlatform() {
	c.up.Lock()
	defer c.up.Unlock()
	c.storms.Add(1)
	defer c.storms.Add(1)
	c.killed[byPlatform].Add(1)
	// No Fatal here: this is not the test's goroutine.
	if err := c.platform.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		c.Error(err)
	}
	if _, err := c.platform.await(); err != nil {
		c.Error(err)
	}
	if err := c.platform.launch(); err != nil {
		c.Error(err)
	}
}

// wantBoundedLogs checks the only thing that may grow with the instances.
func (c *churn) wantBoundedLogs() {
	for _, f := range c.functions {
		files, err := filepath.Glob(filepath.Join(c.platform.state, "logs", f, "*"))
		if err != nil {
			c.Fatal(err)
		}
		if len(files) > 2*20 {
			c.Errorf("%d log files of %s, want at most two of each of the last 20 instances", len(files), f)
		}
	}
}

// processesOf lists the processes of a node's instances.
func processesOf(node string) []int {
	return processesThat(func(pid int) bool { return isOf(pid, node) })
}

func processesThat(match func(pid int) bool) []int {
	entries, _ := os.ReadDir("/proc")
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if match(pid) {
			found = append(found, pid)
		}
	}
	return found
}

// isOf reports whether pid is of a node's instance: it is in its control group,
// or, where there are none, it is a sandbox known by its command line, or the
// child of one.
func isOf(pid int, node string) bool {
	groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return strings.Contains(string(groups), "/unifaas-"+node+"/") || isSandbox(pid, node) || isStub(pid, node)
}

// isSandbox reports whether pid is a sandbox: its last argument is the id of
// an instance, which begins with the node's.
func isSandbox(pid int, node string) bool {
	args := strings.Split(strings.TrimSuffix(commandLine(pid), "\x00"), "\x00")
	return strings.HasPrefix(args[len(args)-1], node+"-")
}

func isStub(pid int, node string) bool {
	parent := parentOf(pid)
	return parent > 1 && isSandbox(parent, node)
}

func commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(b)
}

// parentOf reads the fourth field of /proc/PID/stat (proc(5)); the second may
// hold anything, in parentheses.
func parentOf(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}
