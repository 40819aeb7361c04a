package run

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/platform"
	"github.com/unifaas/unifaas/internal/lab/workload"
)

// A lab is a platform with the functions of all subjects.
type lab struct {
	platform *platform.Platform
	folder   *workload.Folder

	mu       sync.Mutex
	subjects map[experiment.Subject]workload.Function
	takes    int // tells versions of a function apart
}

var _ experiment.Lab = (*lab)(nil)

// name is a subject's function in one mode.
func name(s experiment.Subject, m experiment.Mode) string {
	return fmt.Sprintf("%s-%s-%s", s.Sandbox, s.Language, m)
}

// settings are the lines of function.toml that make a mode. Those of one that
// is to have fresh instances hold the number of the take: another version has
// none of the instances of the one before.
func settings(m experiment.Mode, instances, take int) string {
	switch m {
	case experiment.Single:
		return "single-use = true\nqueue = 10000\n"
	case experiment.Warm:
		return "concurrency = 4096\nkeepalive = \"1h\"\nmax-instances = 1\nqueue = 10000\n"
	case experiment.Idle:
		return fmt.Sprintf("min-instances = %d\nkeepalive = \"1ms\"\nlabels = { take = \"%d\" }\n", instances, take)
	default:
		return fmt.Sprintf("keepalive = \"1h\"\nmax-instances = 1\nlabels = { take = \"%d\" }\n", take)
	}
}

func (l *lab) toml(s experiment.Subject, m experiment.Mode, instances int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takes++
	fn := l.subjects[s]
	fn.Settings = settings(m, instances, l.takes)
	return l.folder.TOML(fn)
}

// serve has all subjects served.
func (l *lab) serve(ctx context.Context) error {
	tomls := map[string]string{}
	for _, s := range slices.Collect(maps.Keys(l.subjects)) {
		for _, m := range []experiment.Mode{experiment.Single, experiment.Warm, experiment.Idle, experiment.Fresh} {
			tomls[name(s, m)] = l.toml(s, m, 0)
		}
	}
	return l.platform.Serve(ctx, tomls)
}

// URL implements [experiment.Lab].
func (l *lab) URL(s experiment.Subject, m experiment.Mode, path string) string {
	return fmt.Sprintf("http://%s/invoke/%s%s", l.platform.Gateway, name(s, m), path)
}

// Renew implements [experiment.Lab].
func (l *lab) Renew(ctx context.Context, n int, all ...experiment.Subject) error {
	return l.version(ctx, experiment.Idle, n, all)
}

// Await implements [experiment.Lab].
func (l *lab) Await(ctx context.Context, s experiment.Subject, n int) error {
	return l.platform.AwaitInstances(ctx, name(s, experiment.Idle), n)
}

// Fresh implements [experiment.Lab].
func (l *lab) Fresh(ctx context.Context, all ...experiment.Subject) error {
	if err := l.version(ctx, experiment.Fresh, 0, all); err != nil {
		return err
	}
	for _, s := range all {
		if err := l.platform.AwaitInstances(ctx, name(s, experiment.Fresh), 0); err != nil {
			return err
		}
	}
	return nil
}

// version serves another version of the subjects' functions in one mode.
func (l *lab) version(ctx context.Context, m experiment.Mode, instances int, all []experiment.Subject) error {
	tomls := map[string]string{}
	for _, s := range all {
		tomls[name(s, m)] = l.toml(s, m, instances)
	}
	return l.platform.Serve(ctx, tomls)
}

// Gone implements [experiment.Lab].
func (l *lab) Gone(ctx context.Context, s experiment.Subject, m experiment.Mode) error {
	return l.platform.AwaitGone(ctx, name(s, m))
}

// Instances implements [experiment.Lab].
func (l *lab) Instances(ctx context.Context, s experiment.Subject, m experiment.Mode) ([]control.Instance, error) {
	every, err := l.platform.Control.Instances(ctx)
	fn := name(s, m)
	return slices.DeleteFunc(every, func(i control.Instance) bool { return i.Function != fn }), err
}

// FailedStarts implements [experiment.Lab].
func (l *lab) FailedStarts(ctx context.Context, s experiment.Subject, m experiment.Mode) (int, error) {
	return l.platform.FailedStarts(ctx, name(s, m))
}

// Image implements [experiment.Lab].
func (l *lab) Image(ctx context.Context, s experiment.Subject) (int64, error) {
	d, err := l.platform.Control.Describe(ctx, name(s, experiment.Warm))
	if err != nil {
		return 0, err
	}
	images, err := l.platform.Control.Images(ctx)
	for _, i := range images {
		if i.Digest == d.ImageDigest {
			return i.Size, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("the store has no image %s", d.ImageDigest)
	}
	return 0, err
}

// Hello implements [experiment.Lab].
func (l *lab) Hello(s experiment.Subject) string { return workload.Hello[s.Language] }

// Inside implements [experiment.Lab].
func (l *lab) Inside() bool { return true }

// Came implements [experiment.Lab].
func (l *lab) Came(before, after []measure.ProcessMemory) []measure.ProcessMemory {
	return measure.Came(before, after, l.platform.Pid())
}
