package experiment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Timeout bounds each request: what takes longer is a failure.
const Timeout = time.Minute

// Hello is a request to a subject's path /hello.
func Hello(lab Lab, s Subject, m Mode) load.Request {
	return load.Request{URL: lab.URL(s, m, "/hello"), Want: []byte(lab.Hello(s)), Timeout: Timeout}
}

// Compute is a request to a workload. It puts what the function measured into
// seconds.
func Compute(lab Lab, s Subject, m Mode, path string, seconds *float64) load.Request {
	return load.Request{URL: lab.URL(s, m, path), Timeout: Timeout, Check: func(body []byte) error {
		var answer struct {
			Seconds *float64 `json:"seconds"`
		}
		if err := json.Unmarshal(body, &answer); err != nil || answer.Seconds == nil {
			return fmt.Errorf("the answer has no seconds: %.80q", bytes.TrimSpace(body))
		}
		*seconds = *answer.Seconds
		return nil
	}}
}

// Latency is the sample of a request.
func Latency(parameters string, r load.Result) record.Sample {
	s := Sample(parameters, "ms", Milliseconds(r.Latency))
	s.Failure, s.At = r.Failure, r.Began
	return s
}

// Latencies are the samples of requests.
func Latencies(parameters string, results []load.Result) []record.Sample {
	samples := make([]record.Sample, len(results))
	for i, r := range results {
		samples[i] = Latency(parameters, r)
	}
	return samples
}
