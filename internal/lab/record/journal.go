package record

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// samplesName is the file of samples in a run's folder.
const samplesName = "samples.jsonl"

// A Journal is the file of a run's samples. Its methods may be called
// concurrently.
type Journal struct {
	mu      sync.Mutex
	file    *os.File
	done    map[string]bool // steps
	samples []Sample
}

// A line is what is on a line of the file: a sample, or the end of a step,
// which follows its samples.
type line struct {
	Done string `json:"done,omitempty"`
	*Sample
}

// Open opens the journal in dir, made if need be, and reads what an earlier
// run has left there. A step that was cut off while it was written is removed.
func Open(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, samplesName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	j := &Journal{file: f, done: map[string]bool{}}
	whole, err := j.read()
	if err == nil {
		err = f.Truncate(whole)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %q: %w", f.Name(), err), f.Close())
	}
	return j, nil
}

// Load returns the samples in dir, in the order in which they were taken.
func Load(dir string) ([]Sample, error) {
	f, err := os.Open(filepath.Join(dir, samplesName))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	j := &Journal{file: f, done: map[string]bool{}}
	if _, err := j.read(); err != nil {
		return nil, fmt.Errorf("read %q: %w", f.Name(), err)
	}
	return j.samples, nil
}

// read takes in the file and returns the size of what belongs to whole steps.
func (j *Journal) read() (whole int64, err error) {
	r := bufio.NewReader(j.file)
	var at int64
	var step []Sample
	for n := 1; ; n++ {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return whole, nil
		}
		if err != nil {
			return 0, err
		}
		at += int64(len(text))
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
		switch {
		case l.Sample != nil:
			step = append(step, *l.Sample)
		case l.Done != "":
			j.take(l.Done, step)
			step, whole = nil, at
		}
	}
}

func (j *Journal) take(step string, samples []Sample) {
	j.done[step] = true
	j.samples = append(j.samples, samples...)
}

// Has reports whether a step was taken, now or in an earlier run.
func (j *Journal) Has(step string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done[step]
}

// Append writes the samples of a step, all of them or none. They are on the
// device when it returns. It sets their Step and Seq.
func (j *Journal) Append(step string, samples []Sample) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var text bytes.Buffer
	encode := json.NewEncoder(&text)
	for i := range samples {
		samples[i].Step, samples[i].Seq = step, i
		if err := encode.Encode(line{Sample: &samples[i]}); err != nil {
			return err
		}
	}
	if err := encode.Encode(line{Done: step}); err != nil {
		return err
	}
	if err := j.write(text.Bytes()); err != nil {
		return fmt.Errorf("write samples of %s: %w", step, err)
	}
	j.take(step, samples)
	return nil
}

// write writes at the end, or leaves no part where the disk is full.
func (j *Journal) write(text []byte) error {
	end, err := j.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err = j.file.Write(text); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return errors.Join(err, j.file.Truncate(end))
	}
	return nil
}

// Samples returns all samples, in the order in which they were taken.
func (j *Journal) Samples() []Sample {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.samples)
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }
