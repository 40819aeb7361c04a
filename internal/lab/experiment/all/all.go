// Package all lists the experiments, in the order in which they are run and
// reported.
package all

import (
	"slices"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/experiment/bootread"
	"github.com/unifaas/unifaas/internal/lab/experiment/burst"
	"github.com/unifaas/unifaas/internal/lab/experiment/coldstart"
	"github.com/unifaas/unifaas/internal/lab/experiment/compute"
	"github.com/unifaas/unifaas/internal/lab/experiment/idlecpu"
	"github.com/unifaas/unifaas/internal/lab/experiment/idlememory"
	"github.com/unifaas/unifaas/internal/lab/experiment/imagesize"
	"github.com/unifaas/unifaas/internal/lab/experiment/network"
	"github.com/unifaas/unifaas/internal/lab/experiment/phases"
	"github.com/unifaas/unifaas/internal/lab/experiment/stability"
	"github.com/unifaas/unifaas/internal/lab/experiment/warm"
)

// Experiments returns all experiments.
func Experiments() []experiment.Experiment {
	return slices.Concat([]experiment.Experiment{
		coldstart.Experiment,
		burst.Experiment,
		idlememory.Experiment,
		idlecpu.Experiment,
		warm.Experiment,
		phases.Experiment,
		imagesize.Experiment,
	}, compute.Experiments, []experiment.Experiment{
		network.Requests,
		network.Throughput,
		stability.Experiment,
		bootread.Experiment, // last: it empties the page cache
	})
}
