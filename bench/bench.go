package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// The columns of the report.
const (
	sysHashstream = "hashstream"
	sysNginx      = "nginx"
	sysBoxo       = "boxo"
	sysBound      = "bound"    // what the machine can do at most, measured in this program
	sysHandler    = "net/http" // a handler that does nothing but read a file and write it
	sysClient     = "client"   // what receiving costs this program
	sysCopy       = "copy"     // reading a file and writing it
	sysRead       = "read"     // reading the file, on all cores
	sysPlain      = "copying"  // hashstream add, which copies
	sysPacked     = "packed"   // hashstream serving what it copied
	sysGet        = "GET"      // the same client asks the server of objects for the object itself
	sysCloud      = "kit"      // the node's own client of buckets gets the object
	sysRelay      = "relay"    // a program that asks for the objects and sends on what comes
	sysKV         = "kv"       // the same keys without an index
	sysCopyFrom   = "COPY"     // the same keys by COPY, in batches, into the same kind of table
	sysCeiling    = "ceiling"  // what the client can take, from a server that does nothing but sendfile
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// bench is one run: its data, its tools and what it measured.
type bench struct {
	options
	self     string // this program, for its children
	work     string // folder of this run
	binary   string // hashstream, or "" while it does not build
	missing  string // why binary is ""
	scale    scale
	samples  map[key][]sample
	notes    []string
	datasets map[int64]*dataset
	started  time.Time
}

// scale is the sizes of a run.
type scale struct {
	big, small int64         // file sizes: 1 MiB and 256 KiB leaves; 4 KiB leaves
	add        int64         // file size of the add row
	huge       int64         // file size of the rows of 10 GiB
	records    int           // index row
	files      int           // small files
	pgRecords  int           // in PostgreSQL before it is asked
	settle     time.Duration // age from which the node believes the times of a file
	load       time.Duration // of one load of one server
	slow       time.Duration // of the slow readers
	index      uint64        // records in a provider index
	memory     uint64        // the same where memory is measured
	lookups    int           // of each kind, in process
}

var (
	fullScale = scale{big: gib, small: 256 * mib, add: 2 * gib, huge: 10 * gib, records: 10_000_000, files: 100_000, pgRecords: 500_000, settle: time.Minute, load: 5 * time.Second, slow: 10 * time.Second,
		index: 20_000_000, memory: 50_000_000, lookups: 200_000}
	quickScale = scale{big: 64 * mib, small: 16 * mib, add: 128 * mib, huge: 256 * mib, records: 200_000, files: 5_000, pgRecords: 20_000, load: time.Second, slow: 4 * time.Second,
		index: 500_000, memory: 500_000, lookups: 20_000}
)

type key struct{ row, system string }

// sample is one measurement. CPU is the seconds of processor time that the server
// used per GiB sent; 0 where it is not measured.
type sample struct {
	Value float64 `json:"value"`
	CPU   float64 `json:"cpu_s_per_gib,omitempty"`
}

// scenario measures one or more rows that share data and servers.
type scenario struct {
	name string
	rows []string // ids
	run  func(ctx context.Context, b *bench) error
	real bool // it needs commands that no stand-in knows
}

func (s scenario) matches(only *regexp.Regexp) bool {
	return slices.ContainsFunc(s.rows, only.MatchString)
}

func newBench(ctx context.Context, o options) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, self: self, samples: map[key][]sample{}, datasets: map[int64]*dataset{}, scale: fullScale, started: time.Now()}
	if o.quick {
		b.scale = quickScale
	}
	if o.records > 0 {
		b.scale.index, b.scale.memory = o.records, o.records
	}
	if err := installTools(ctx); err != nil {
		return nil, err
	}
	dir := cmp.Or(o.dir, defaultDir())
	if free, err := freeBytes(dir); err != nil || !o.quick && free < needed {
		return nil, cmp.Or(err, fmt.Errorf("%d GiB must be free in %s", needed/gib, dir))
	}
	if b.work, err = os.MkdirTemp(dir, "hashstream-bench-"); err != nil {
		return nil, err
	}
	b.buildHashstream(ctx)
	return b, nil
}

func (b *bench) close() { os.RemoveAll(b.work) }

func (b *bench) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  "+format+"\n", append([]any{time.Since(b.started).Seconds()}, args...)...)
}

// note adds a sentence to the report, once.
func (b *bench) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(b.notes, s) {
		b.notes = append(b.notes, s)
	}
}

func (b *bench) record(row, system string, s sample) {
	k := key{row, system}
	b.samples[k] = append(b.samples[k], s)
	b.logf("  %-10s %-10s %10.4g   cpu %.3g s/GiB", row, system, s.Value, s.CPU)
}

// systems returns the wanted columns that can be measured in this run.
func (b *bench) systems(want ...string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == sysHashstream && b.binary == "" })
}

// inTurn calls f for each system in each round.
func (b *bench) inTurn(ctx context.Context, systems []string, f func(round int, system string) error) error {
	for round := range b.rounds {
		for _, s := range b.systems(systems...) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(round, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
	}
	return nil
}

// needed is what the data of a whole run takes at most, rounded up.
const needed = 12 * gib

// defaultDir prefers memory, so that no disk is measured.
func defaultDir() string {
	const shm = "/dev/shm"
	if free, err := freeBytes(shm); err == nil && free >= needed {
		return shm
	}
	return os.TempDir()
}

func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// installTools installs nginx and wrk from Debian where they are missing and that
// is possible.
func installTools(ctx context.Context) error {
	if toolPath("nginx") != "" && toolPath("wrk") != "" {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("nginx and wrk are needed: install them, or run as root")
	}
	for _, args := range [][]string{{"update", "-q"}, {"install", "-q", "-y", "--no-install-recommends", "nginx-light", "wrk"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(out))
		}
	}
	return nil
}

// toolPath finds a program, also where only root's PATH looks.
func toolPath(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	if p := filepath.Join("/usr/sbin", name); isFile(p) {
		return p
	}
	return ""
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}

func cores() int { return runtime.NumCPU() }
