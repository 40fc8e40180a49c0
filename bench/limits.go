package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// limit is the most that a row can reach on this machine, from costs that were
// measured in the same run.
type limit struct {
	row   string
	value float64 // in the unit of the row
	why   string
}

// limits returns the limits of the rows that were measured.
func (b *bench) limits() []limit {
	var all []limit
	for _, suffix := range []string{"1m", "256k", "4k"} {
		first, car := "first-"+suffix, "car-"+suffix
		hash, ok := b.median(first, sysBound)
		if !ok {
			continue
		}
		hash = coreSeconds(hash)
		send, receive := b.cpu(car, sysHashstream), b.cpu(car, sysClient)
		all = append(all, limit{first, perGiB(hash + send + receive),
			fmt.Sprintf("hash %.2f, send %.2f, receive %.2f", hash, send, receive)})
	}
	if h, ok := b.median("raw-4k", sysHandler); ok {
		all = append(all, limit{"raw-4k", h, "a handler of net/http that reads a file and writes it"})
	}
	if h, ok := b.median("ipni-get", sysHandler); ok {
		all = append(all, limit{"ipni-get", h, "a handler of net/http that writes one answer again and again"})
	}
	if v, ok := b.median("ipni-ingest", sysBound); ok {
		all = append(all, limit{"ipni-ingest", v, fmt.Sprintf("hash a chunk, and hash and encrypt for each multihash: %.2f µs of a core", 1e6*float64(cores())/v)})
	}
	if twice, ok := b.median("add", sysBound); ok {
		twice = coreSeconds(twice)
		copying := b.cpu("add", sysCopy)
		all = append(all, limit{"add", perGiB(twice + copying), fmt.Sprintf("hash twice %.2f, copy the file once %.2f", twice, copying)})
	}
	for _, id := range []string{"s3-car", "s3-place"} {
		if v, ok := b.median(id, sysRelay); ok {
			all = append(all, limit{id, v, fmt.Sprintf("a program that asks for the objects and sends on what comes, unverified: %.2f, of the server of objects %.2f",
				b.cpu(id, sysRelay), b.cpu(id, sysGet))})
		}
	}
	if once, ok := b.median("place", sysBound); ok {
		once = coreSeconds(once)
		reading := b.cpu("place", sysRead)
		all = append(all, limit{"place", perGiB(once + reading), fmt.Sprintf("hash once %.2f, read the file once %.2f", once, reading)})
	}
	return all
}

// coreSeconds turns a rate of all cores in MiB/s into the core seconds of a GiB.
func coreSeconds(rate float64) float64 { return float64(cores()) * gib / mib / rate }

// perGiB turns core seconds of a GiB into MiB/s of all cores.
func perGiB(seconds float64) float64 { return float64(cores()) * gib / mib / seconds }

func (b *bench) cpu(row, system string) float64 {
	v, _ := b.medianOf(row, system, func(s sample) float64 { return s.CPU })
	return v
}

func (b *bench) limitTable(w io.Writer) {
	all := b.limits()
	if len(all) == 0 {
		return
	}
	fmt.Fprint(w, limitHead)
	for _, l := range all {
		for _, r := range rows {
			if r.id != l.row {
				continue
			}
			own, ok := b.median(r.id, sysHashstream)
			var of []string
			for _, t := range r.targets {
				if other, ok := b.median(r.id, t.against); ok {
					of = append(of, fmt.Sprintf("%.2f× %s", l.value/other, t.against))
				}
			}
			fmt.Fprintf(w, "| %s | %s %s | %s | %s | %s |\n", r.work, number(l.value, true), r.unit, l.why, strings.Join(of, "; "), percent(own/l.value, ok))
		}
	}
}

const limitHead = `
## Limits

What the work costs at least on this machine, measured in this run. Costs are core seconds per GiB; with all cores busy all the
time they give the limit. A target above it cannot be reached here.

| work | limit | from | which is | Hashstream reaches |
| --- | ---: | --- | --- | ---: |
`

func percent(v float64, ok bool) string {
	if !ok {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", v*100)
}

// ownCPU returns the processor time that this program has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// copyOnce copies file into a fresh folder, through a buffer of 1 MiB, and records
// what that costs.
func (b *bench) copyOnce(ctx context.Context, row, file string) error {
	dir, err := os.MkdirTemp(b.work, "copy-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := warmMemory(ctx, dir, b.scale.add+b.scale.add/16); err != nil {
		return err
	}
	from, err := os.Open(file)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(dir, "copy"))
	if err != nil {
		return err
	}
	cpu, start := ownCPU(), time.Now()
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, mib))
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	m := measured{bytes: n, wall: time.Since(start), cpu: ownCPU() - cpu}
	b.record(row, sysCopy, sample{m.mibPerSecond(), m.cpuPerGiB()})
	return nil
}
