package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// columns are the systems of the report, in order.
var columns = []string{sysHashstream, sysNginx, sysBoxo, sysBound}

// report prints what was measured, and writes the files that were asked for.
func (b *bench) report() error {
	if len(b.samples) == 0 {
		return nil
	}
	var text bytes.Buffer
	b.markdown(&text)
	os.Stdout.Write(text.Bytes())
	if b.out != "" {
		if err := os.WriteFile(b.out, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if b.options.json == "" {
		return nil
	}
	all := map[string]map[string][]sample{}
	for k, v := range b.samples {
		if all[k.row] == nil {
			all[k.row] = map[string][]sample{}
		}
		all[k.row][k.system] = v
	}
	out, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(b.options.json, append(out, '\n'), 0o644)
}

const reportHead = `# Benchmarks

Written by ` + "`make bench`" + `. Every row was measured in one run, on the same bytes, each server in turn.
Values are medians of %d rounds. A ratio compares two medians of this run and is so that more is better.

* Machine: %s
* Hashstream: %s
* Peers: %s, boxo %s, go-car %s, go-ds-flatfs %s; built with %s
* Date: %s%s

## Results

`

const reportMethod = `
## Method

* **Data**: pseudo-random bytes from a fixed seed: files of %d MiB (leaves of 1 MiB and of 256 KiB), %d MiB
  (leaves of 4 KiB) and %d MiB (add), in memory (tmpfs) where 12 GiB are free there. The DAG is that of the profile
  unixfs-v1-2025 but for the leaf size. boxo's importer and go-car write each CAR, depth first and without duplicates; every
  server's answer is compared with it, byte for byte (by sha2-256), once a run, outside of the measured time.
* **Servers**: child processes on loopback, one at a time, started anew in every round, page cache warm. nginx sends the CAR, or
  each block, as a static file: one worker per core, sendfile, tcp_nopush, open_file_cache, no access log. boxo is its gateway
  handler over go-car's read-only blockstore: memory-mapped, index in memory, without timeouts and limits, so faster than a
  gateway in service. Hashstream runs with its default configuration, but for the access log, which is
  off as nginx's is.
* **Client of CARs**: a raw TCP connection for each request, whose bytes %s, 1 MiB at a time; it costs every
  server the same. With -discard the kernel
  drops them uncopied, and nginx gains more by that than Hashstream does: the ratios were 0.81× with leaves of 1 MiB and 0.72× with 4 KiB
  in a run of two rounds. **Ceiling** is this client against a Go program that only calls sendfile: what the client can take.
* **First serve**: the first answer after a start of the process, which hashes every block. Its bound is the rate of
  crypto/sha256 on one core, times the cores.
* **Raw blocks**: wrk, 16 connections on %d threads, cycling through %d blocks of 256 KiB or %d of 4 KiB, after a warm-up.
* **entity-bytes**: one connection, one request after another, 16 ranges around the middle in turn.
* **HEAD**: the median of at most 300 requests on one connection, with Go's client, whose share is about that of nginx.
* **add**: wall time of a process that adds the file to an empty store, each after as much memory was written and freed. boxo's importer writes to a flatfs, with sync, as Kubo
  does. The bound is all cores hashing every byte twice (leaf and pack) with crypto/sha256.
* **Memory**: VmHWM and VmRSS of /proc/PID/status; boxo's count the CAR that it maps. A slow reader takes 64 KiB sixteen times a second for %s.
* **Index**: %d records in pebblekv, in packs of 512 blocks, level single-level, random digests; the size is that of all files
  after closing. One goroutine per core finds all that is known of random blocks (plans, places, packs), 10,000 a second each, while a
  writer adds 20 packs (10,240 records) a second, durably. Without the pace, finds wait for each other and for the writer. The garbage
  collector is set as a node sets it.
* **In place**: wall time of a process with an empty home, on files that nobody changes. The bound of one file is all cores hashing as many bytes of
  memory once; that of %d files of 4 KiB is all cores opening, reading and hashing them, with no index; that of a
  scan one goroutine that lists and asks for the state of each. *copying* is hashstream add of the same files.
* **CAR of a file in place**: as the CARs above, beside the same file in packs. The file was last changed more than a minute before: a younger one
  is hashed at every read, because its times do not show for certain that it is unchanged. That is the row below, with the bound of first serves.
* **S3**: versitygw on loopback over a folder in memory. *GET* is the client of CARs, asking it by signed URLs for the same objects: packs of the default size, or
  the file. *kit* is the node's own client of buckets, reading them into this program; *relay* a program of net/http between client and server
  that sends on what comes, unverified: it has the work that no node can avoid. Requests are counted by a proxy, in an answer that is not
  timed; their bound is the size of the CAR / 4 MiB + 4.
* **BLAKE3**: a slice is fetched by hashstream get --range from a server that was just started; another slice in each round. Transferred is all that a
  proxy sees of the connection, both ways. Read is rchar of /proc/PID/io, with requests, index and tree, less the slice. The blob is sparse but for random
  bytes where the slices are.
* **PostgreSQL**: Debian's, its files on disk, with fsync. %d records of packs of 512 blocks are there before the rows; then batches of %d records are written one after the other.
  *kv* writes and finds like keys without an index, *COPY* writes them by COPY. A find of the index is four queries, one after another; one of
  kv is one. As fast as possible, sixteen processes of the server and this program wait for the cores.
* **Provider index**: on disk (-big-dir), one round. %d records of a key of 32 bytes and a value of %d (an encrypted value key of an ed25519 peer),
  from a generator that takes about 50 ns for one. Rates count until all is merged: in process until Compact returns; elsewhere until the server, asked ten times a second,
  has used no processor time for 1.5 s (which do not count). In process, four writers put chunks of 16,384, and the key of 14,000 values is spread over all of them. Lookups are the second
  ones of the same random records, one after another. *dhstore* runs with its defaults, so that it acknowledges what is not durable; hashstream has synced it.
  %d connections put the same JSON to either, 4,096 records in each request, from a process of its own on the same cores. Sizes are those after a restart, of all files.
  Lookups over HTTP are wrk's, of %d random records, after all files were read once, in at most three rounds. During writes, 1,000 lookups a second are
  due at fixed times on 16 connections, and late ones count from when they were due. Chains are four, with 16 chunks of 16,384 multihashes in each advertisement, served from files
  in the page cache. With little memory means ipni.memory = "128MiB" and GOMEMLIMIT=384MiB; else both are the defaults.
* **CPU**: user and system time of the server with its workers, or of the whole process of an add, per GiB of payload.

## What holds the rest

Where the time of rows goes that miss a target, or come near to missing it. The shares are of profiles of single runs on the
machine above; how to make one stands below.

* **CAR beside nginx**: more than nine tenths of Hashstream's CPU is sendfile(2), for fewer CPU seconds a GiB than nginx takes. Which of
  the two is ahead changes from run to run.
* **First serve**: the bound counts one hash of each byte. The same cores also send and receive it, which the limit above adds;
  Hashstream reads it besides, to hash it. Of the server's CPU six tenths are crypto/sha256, two tenths sendfile(2), and
  a sixth is reading. The cores are idle for about a fifth of the time, when server and client wait for each other.
* **Raw blocks of 4 KiB**: three tenths are system calls, two of them for writing, and a fifth is making, sorting and writing the fifteen
  header fields of the answer. Most of the rest is net/http parsing requests, and allocation. A handler that only reads a file and
  writes it, with two header fields, is the limit above.
* **add**: half to two thirds are crypto/sha256, the rest is mostly copying between the kernel and the process: reading a file, writing
  packs. The cores are busy for about nine tenths of the time. On a virtual machine, memory that the host must find first makes writing
  up to three times as expensive, and rows of one run differ by a third: the limit above is a median of that. Three times boxo's
  rate is above it.

* **Add a file in place**: seven tenths are crypto/sha256 and a fifth is copying from the page cache. The bound hashes the same memory again and
  again, which is in the cache of its core. A small program that does nothing but read pieces of a file and hash them took 0.70 core seconds
  a GiB where the bound took 0.53, which is 0.76× the bound; in pieces of 128 KiB, as Hashstream reads them. Pieces of 1 MiB took 0.79, hashing
  memory-mapped pages 0.94.
* **Add files in place**: hashing is a fifteenth of it. A third is the index (lookups, batches, pebble's flushes and compactions), a fifth system calls
  to open, read and describe files, an eighth the allocation of memory.
* **CAR from S3**: a node copies every byte from one connection to memory and from there to another, beside the server and the client of the plain
  GET, on the same cores. Seven tenths of its CPU are the system calls that read and write. The limit above has the same copies.
* **PostgreSQL**: the median of a find is a tenth of the 99th percentile. The rest is waiting for one of the cores, which the server's
  processes and this program share: a find that is four queries waits four times.

A profile of a server, while clients ask:

    HASHSTREAM_VERIFY_MODE=always hashstream serve --admin 127.0.0.1:9090     # hash at every answer, not only at the first
    go tool pprof -top 'http://127.0.0.1:9090/debug/pprof/profile?seconds=5'
    perf record hashstream add FILE && perf report

## Repeat

    make bench                                   # everything, about three quarters of an hour on two cores
    cd bench && go run . -quick                  # a smoke test with small data
    cd bench && go run . -only 'car-|raw-' -rounds 9 -json samples.json
`

var receiving = map[bool]string{false: "the kernel discards (MSG_TRUNC)", true: "are copied to memory and forgotten"}

func (b *bench) markdown(w io.Writer) {
	quick := ""
	if b.quick {
		quick = "\n* **Quick run: small data and short loads. These numbers are a smoke test.**"
	}
	fmt.Fprintf(w, reportHead, b.rounds, machine(), b.hashstreamVersion(context.Background()),
		nginxVersion(), moduleVersion("github.com/ipfs/boxo"), moduleVersion("github.com/ipld/go-car/v2"),
		moduleVersion("github.com/ipfs/go-ds-flatfs"), runtime.Version(), time.Now().UTC().Format(time.DateOnly), quick)
	b.resultTable(w)
	b.cpuTable(w)
	b.limitTable(w)
	b.writeNotes(w)
	fmt.Fprintf(w, reportMethod, b.scale.big/mib, b.scale.small/mib, b.scale.add/mib, receiving[b.copies], b.threads,
		min(1024, b.scale.big/(256*kib)), min(16384, b.scale.small/(4*kib)), b.scale.slow, b.scale.records, b.scale.files, b.scale.pgRecords, pgBatch,
		b.scale.index, sealedValue, putConns, b.scale.lookups)
}

func (b *bench) resultTable(w io.Writer) {
	fmt.Fprintln(w, "| work | unit | hashstream | nginx | boxo | others | bound | target | reached | |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |")
	for _, r := range rows {
		if !b.measuredRow(r.id) {
			continue
		}
		cells := []string{r.work, r.unit}
		for _, c := range columns {
			if c == sysBound {
				cells = append(cells, b.others(r))
			}
			cells = append(cells, number(b.median(r.id, c)))
		}
		var want, got, met []string
		for _, t := range r.targets {
			text, reached, ok := b.judge(r, t)
			want, got = append(want, text), append(got, reached)
			met = append(met, ok)
		}
		cells = append(cells, strings.Join(want, "; "), strings.Join(got, "; "), strings.Join(met, "; "))
		fmt.Fprintln(w, "|", strings.Join(cells, " | "), "|")
	}
}

// others names and tells what was measured beside the columns that all rows have.
func (b *bench) others(r row) string {
	var cells []string
	for _, o := range r.others {
		if v, ok := b.median(r.id, o); ok {
			cells = append(cells, o+" "+number(v, true))
		}
	}
	return cmp.Or(strings.Join(cells, "; "), "–")
}

// judge compares hashstream's median with a target.
func (b *bench) judge(r row, t target) (want, got, met string) {
	own, ok := b.median(r.id, sysHashstream)
	if t.against == "" {
		sign, reached := "≥", own >= t.limit
		if r.lower {
			sign, reached = "≤", own <= t.limit
		}
		want = fmt.Sprintf("%s %g %s", sign, t.limit, r.unit)
		if !ok {
			return want, "–", "–"
		}
		return want, number(own, true), verdict(reached)
	}
	want = fmt.Sprintf("≥ %g× %s", t.factor, t.against)
	other, ok2 := b.median(r.id, t.against)
	if !ok || !ok2 {
		return want, "–", "–"
	}
	ratio := own / other
	if r.lower {
		ratio = other / own
	}
	return want, fmt.Sprintf("%.2f×", ratio), verdict(ratio >= t.factor)
}

func verdict(ok bool) string {
	if ok {
		return "met"
	}
	return "**not met**"
}

func (b *bench) cpuTable(w io.Writer) {
	var lines []string
	for _, r := range rows {
		cells, any := []string{r.work}, false
		for _, c := range columns[:3] {
			v, ok := b.medianOf(r.id, c, func(s sample) float64 { return s.CPU })
			any = any || ok && v > 0
			cells = append(cells, number(v, ok))
		}
		if any {
			lines = append(lines, "| "+strings.Join(cells, " | ")+" |")
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(w, "\n## CPU seconds per GiB\n\n| work | hashstream | nginx | boxo |\n| --- | ---: | ---: | ---: |\n%s\n", strings.Join(lines, "\n"))
	}
}

func (b *bench) writeNotes(w io.Writer) {
	notes := slices.Clone(b.notes)
	for _, r := range rows {
		if v, ok := b.median(r.id, sysCeiling); ok {
			notes = append(notes, fmt.Sprintf("Ceiling of the client, %s: %s %s.", r.work, number(v, true), r.unit))
		}
		if v, ok := b.median(r.id, sysHandler); ok {
			cpu, _ := b.medianOf(r.id, sysHandler, func(s sample) float64 { return s.CPU })
			notes = append(notes, fmt.Sprintf("A handler of net/http that only reads and writes, %s: %s %s, %.3g CPU seconds per GiB.", r.work, number(v, true), r.unit, cpu))
		}
	}
	if len(notes) > 0 {
		fmt.Fprintf(w, "\n## Notes\n\n* %s\n", strings.Join(notes, "\n* "))
	}
}

func (b *bench) measuredRow(id string) bool {
	return slices.ContainsFunc(columns, func(c string) bool { return len(b.samples[key{id, c}]) > 0 })
}

func (b *bench) median(row, system string) (float64, bool) {
	return b.medianOf(row, system, func(s sample) float64 { return s.Value })
}

func (b *bench) medianOf(row, system string, f func(sample) float64) (float64, bool) {
	var v []float64
	for _, s := range b.samples[key{row, system}] {
		v = append(v, f(s))
	}
	return median(v), len(v) > 0
}

// median returns the middle of v, 0 if v is empty.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// number writes v with about three digits.
func number(v float64, ok bool) string {
	switch {
	case !ok:
		return "–"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func nginxVersion() string {
	out, _ := exec.Command(toolPath("nginx"), "-v").CombinedOutput()
	_, v, _ := strings.Cut(lastLine(out), ": ")
	return cmp.Or(strings.TrimPrefix(v, "nginx version: "), "nginx")
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "?"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "?"
}
