// Package imagesize measures what a function's image takes on disk.
package imagesize

import (
	"context"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment is the paper's "image-size".
var Experiment = experiment.Experiment{
	Name:   "image-size",
	Inside: true,
	About:  "bytes of the function's root file system, unpacked",
	Charts: []experiment.Chart{{Title: "Size of images and kernels", Form: experiment.Amounts, Axis: "size"}},
	Trials: func(experiment.Scale) []experiment.Trial {
		const parameters = "file=rootfs"
		return []experiment.Trial{{
			Parameters: parameters, Times: 1,
			Take: func(ctx context.Context, lab experiment.Lab, s experiment.Subject) ([]record.Sample, error) {
				size, err := lab.Image(ctx, s)
				return []record.Sample{experiment.Sample(parameters, "bytes", float64(size))}, err
			},
		}}
	},
}
