package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/unifaas/unifaas/test/bench/measure"
)

// options are the command line.
type options struct {
	out     string // file of the rows; "" writes none
	unifaas string
	only    []string
	// sandboxes are those that legs cold, burst and instance measure; empty is
	// all.
	sandboxes []string
	quick     bool
	check     bool
	keep      bool
	pprof     string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	only, sandboxes := "", ""
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.out, "out", "build/bench.json", "`file` for the rows; facts of the host go beside it, to *-host.json; empty writes nothing")
	flags.StringVar(&o.unifaas, "unifaas", "build/unifaas", "the platform's `binary`")
	flags.StringVar(&only, "only", "", "comma-separated `legs` to run: "+strings.Join(legNames(), ", ")+"; empty runs all")
	flags.StringVar(&sandboxes, "sandbox", "", "comma-separated `sandboxes` for legs cold, burst and instance: "+strings.Join(sandboxNames(), ", ")+"; empty is all")
	flags.BoolVar(&o.quick, "quick", false, "few and short rounds: shows that everything runs, not how fast")
	flags.BoolVar(&o.check, "check", false, "exit with status 1 when a target is missed or was not measured")
	flags.BoolVar(&o.keep, "keep", false, "keep the working folder with all logs")
	flags.StringVar(&o.pprof, "pprof", "", "serve net/http/pprof of the platform of leg warm on this `address`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	var err error
	if o.only, err = choose("only", "leg", only, legNames()); err == nil {
		o.sandboxes, err = choose("sandbox", "sandbox", sandboxes, sandboxNames())
	}
	return o, err
}

// choose returns the parts of a comma-separated list, each of which must be
// among those that there are.
func choose(flag, kind, list string, among []string) (chosen []string, err error) {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !slices.Contains(among, name) {
			return chosen, fmt.Errorf("-%s: no %s %q; there are %s", flag, kind, name, strings.Join(among, ", "))
		}
		chosen = append(chosen, name)
	}
	return chosen, nil
}

func main() { os.Exit(run(os.Args[1:])) }

const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func run(args []string) int {
	o, err := parseOptions(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	rows, facts, err := runLegs(ctx, o)
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "bench: interrupted; everything was stopped, nothing written")
		return exitInterrupted
	}
	measure.WriteTable(os.Stdout, rows)
	if o.quick {
		fmt.Println("* -quick: too few and too short rounds to judge by")
	}
	if o.out != "" {
		err = errors.Join(err, write(o.out, rows, facts))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitFailed
	}
	if o.check && slices.ContainsFunc(rows, measure.Row.Missed) {
		return exitFailed
	}
	return 0
}

// write writes rows to path and facts beside it.
func write(path string, rows []measure.Row, facts *host) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = errors.Join(measure.WriteJSON(f, rows), f.Close())
	return errors.Join(err, facts.write(strings.TrimSuffix(path, ".json")+"-host.json"))
}
