// Command bench measures Hashstream beside nginx and a gateway made of boxo's
// handler, on the same bytes, in the same run, in turn. It is what `make bench`
// runs: it prepares deterministic data, starts every server as a child process on a free
// loopback port, and writes docs/benchmarks.md.
//
// Run it in its own folder:
//
//	go run . [-only REGEX] [-rounds N] [-dir DIR] [-quick] [-out FILE] [-json FILE]
//
// The exit code is 1 if anything could not be measured. A target that is not met is
// reported, and is no failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	only    string
	rounds  int
	dir     string
	bigDir  string
	quick   bool
	out     string
	json    string
	binary  string
	copies  bool
	threads int
	records uint64
	timeout time.Duration
}

func main() {
	if len(os.Args) > 1 {
		if child, ok := childCommands[os.Args[1]]; ok {
			if err := child(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", os.Args[1]+":", err)
				os.Exit(1)
			}
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, parseFlags()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// childCommands are the servers and the importer that this program runs as
// processes of their own, so that their CPU time and memory can be told apart.
var childCommands = map[string]func(args []string) error{
	"boxo-serve":     boxoServe,
	"boxo-add":       boxoAdd,
	"sendfile-serve": sendfileServe,
	"handler-serve":  handlerServe,
	"relay-serve":    relayServe,
	"values-fill":    valuesFill,
	"merges-put":     mergesPut,
	"chain-serve":    chainServe,
}

func parseFlags() options {
	var o options
	flag.StringVar(&o.only, "only", "", "measure only the rows whose id matches this `regexp`")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each row (default 5, or 2 with -quick)")
	flag.StringVar(&o.dir, "dir", "", "`folder` for the data (default /dev/shm with 12 GiB free, else the temporary folder)")
	flag.StringVar(&o.bigDir, "big-dir", os.TempDir(), "`folder` for the 10 GiB rows and the provider index; 21 GiB must be free")
	flag.BoolVar(&o.quick, "quick", false, "small data and short runs: a smoke test, not a measurement")
	flag.StringVar(&o.out, "out", "", "write the report to this `file` (default ../docs/benchmarks.md, for a whole run only)")
	flag.StringVar(&o.json, "json", "", "write every sample to this `file`")
	flag.StringVar(&o.binary, "hashstream", "", "measure this `binary` instead of building ../cmd/hashstream")
	discard := flag.Bool("discard", false, "have the kernel discard the bodies of CARs, instead of copying them to the client's memory")
	flag.IntVar(&o.threads, "wrk-threads", 2, "threads of wrk; 2 is wrk's own default")
	flag.Uint64Var(&o.records, "records", 0, "records of the provider index (default 20,000,000, or 500,000 with -quick)")
	flag.DurationVar(&o.timeout, "timeout", 2*time.Hour, "stop after this time")
	flag.Parse()
	o.copies = !*discard
	if o.rounds <= 0 {
		o.rounds = 5
		if o.quick {
			o.rounds = 2
		}
	}
	if o.out == "" && o.only == "" && !o.quick {
		o.out = "../docs/benchmarks.md"
	}
	return o
}

// run prepares, measures and reports. What it started is stopped and what it
// wrote outside of the report is removed when it returns.
func run(ctx context.Context, o options) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	var errs []error
	for _, s := range scenarios {
		if ctx.Err() != nil {
			break
		}
		if !s.matches(only) {
			continue
		}
		b.logf("%s", s.name)
		start := time.Now()
		if err := s.run(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			b.logf("  failed: %v", err)
		}
		b.logf("  took %s", time.Since(start).Round(time.Millisecond))
	}
	if ctx.Err() != nil || b.binary == "" {
		b.out = "" // a run that was cut short or measured the peers alone replaces no report
	}
	errs = append(errs, context.Cause(ctx), b.report())
	return errors.Join(errs...)
}
