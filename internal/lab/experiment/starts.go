package experiment

import (
	"context"
	"errors"

	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Starts takes requests in mode [Single] and returns their latencies, and the
// metric "failed starts": how many starts failed meanwhile, whether a request
// failed for it or was served by the next. From outside only the requests are
// seen.
func Starts(ctx context.Context, lab Lab, s Subject, parameters string, ask func() []load.Result) ([]record.Sample, error) {
	if !lab.Inside() {
		return Latencies(parameters, ask()), ctx.Err()
	}
	before, err := lab.FailedStarts(ctx, s, Single)
	if err != nil {
		return nil, err
	}
	samples := Latencies(parameters, ask())
	err = lab.Gone(ctx, s, Single)
	after, failed := lab.FailedStarts(ctx, s, Single)
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	count := Sample(parameters, "starts", float64(after-before))
	count.Metric = "failed starts"
	return append(samples, count), nil
}
