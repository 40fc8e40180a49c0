package main

import "runtime"

// row is one line of the report.
type row struct {
	id, work, unit string
	lower          bool // a smaller value is better
	targets        []target
	others         []string // systems of this row alone
}

// target is what Hashstream must reach: factor times another column, or limit in
// the unit of the row if there is no such column.
type target struct {
	against string
	factor  float64
	limit   float64
}

func times(factor float64, system string) target { return target{against: system, factor: factor} }
func atMost(limit float64) target                { return target{limit: limit} }
func atLeast(limit float64) target               { return target{limit: limit} } // of a row where more is better

// rows are the lines of the report, in order.
var rows = []row{
	{id: "car-1m", work: "whole-DAG CAR, leaves of 1 MiB", unit: "MiB/s", targets: []target{times(0.95, sysNginx), times(5, sysBoxo)}},
	{id: "car-256k", work: "whole-DAG CAR, leaves of 256 KiB", unit: "MiB/s", targets: []target{times(0.95, sysNginx), times(5, sysBoxo)}},
	{id: "car-4k", work: "whole-DAG CAR, leaves of 4 KiB", unit: "MiB/s", targets: []target{times(0.9, sysNginx), times(12, sysBoxo)}},
	{id: "first-1m", work: "first serve after a start, leaves of 1 MiB", unit: "MiB/s", targets: []target{times(0.5, sysBound)}},
	{id: "first-256k", work: "first serve after a start, leaves of 256 KiB", unit: "MiB/s", targets: []target{times(0.5, sysBound)}},
	{id: "first-4k", work: "first serve after a start, leaves of 4 KiB", unit: "MiB/s", targets: []target{times(0.5, sysBound)}},
	{id: "raw-256k", work: "raw blocks of 256 KiB, 16 connections", unit: "req/s", targets: []target{times(1.1, sysNginx)}},
	{id: "raw-4k", work: "raw blocks of 4 KiB, 16 connections", unit: "req/s", targets: []target{times(0.5, sysNginx), times(2, sysBoxo)}},
	{id: "entity", work: "entity-bytes, 1 MiB in the middle of the file with leaves of 256 KiB", unit: "req/s", targets: []target{times(5, sysBoxo)}},
	{id: "head", work: "HEAD of the CAR with leaves of 1 MiB", unit: "ms", lower: true, targets: []target{atMost(1)}},
	{id: "head-10g", work: "HEAD of the CAR of 10 GiB", unit: "ms", lower: true, targets: []target{atMost(1)}},
	{id: "add", work: "add a file", unit: "MiB/s", targets: []target{times(0.6, sysBound), times(3, sysBoxo)}},
	{id: "index-p99", work: "index in pebblekv, find under load, p99", unit: "µs", lower: true, targets: []target{atMost(100)}},
	{id: "index-size", work: "index in pebblekv, on disk", unit: "B/record", lower: true, targets: []target{atMost(80)}},
	{id: "mem-serve", work: "resident, 64 slow readers of a CAR, peak", unit: "MiB", lower: true, targets: []target{atMost(150)}},
	{id: "mem-serve-now", work: "the same, at the end", unit: "MiB", lower: true, targets: []target{atMost(150)}},
	{id: "mem-add", work: "resident, adding the file, peak", unit: "MiB", lower: true},
	{id: "mem-add-10g", work: "resident, adding 10 GiB, peak", unit: "MiB", lower: true, targets: []target{atMost(200)}},
	{id: "place", work: "add a file in place", unit: "MiB/s", targets: []target{times(0.8, sysBound)}},
	{id: "place-files", work: "add files of 4 KiB in place", unit: "files/s", targets: []target{atLeast(15_000)}, others: []string{sysPlain}},
	{id: "scan", work: "scan the same files, unchanged", unit: "files/s", targets: []target{atLeast(100_000)}},
	{id: "place-car", work: "whole-DAG CAR of a file in place, leaves of 1 MiB", unit: "MiB/s", targets: []target{times(0.7, sysPacked)}, others: []string{sysPacked}},
	{id: "place-young", work: "the same, file changed less than a minute ago", unit: "MiB/s"},
	{id: "s3-car", work: "whole-DAG CAR, packs in S3, leaves of 256 KiB", unit: "MiB/s", targets: []target{times(0.8, sysGet), times(0.8, sysCloud)}, others: []string{sysGet, sysCloud, sysRelay}},
	{id: "s3-first", work: "the same, first serve after a start", unit: "MiB/s"},
	{id: "s3-requests", work: "the same, requests to S3", unit: "requests", lower: true, targets: []target{times(1, sysBound)}},
	{id: "s3-place", work: "whole-DAG CAR of a file in place in S3, leaves of 256 KiB", unit: "MiB/s", targets: []target{times(0.8, sysGet), times(0.8, sysCloud)}, others: []string{sysGet, sysCloud, sysRelay}},
	{id: "s3-place-first", work: "the same, first serve after a start", unit: "MiB/s"},
	{id: "s3-place-requests", work: "the same, requests to S3", unit: "requests", lower: true, targets: []target{times(1, sysBound)}},
	{id: "blake3", work: "add a file in place as one BLAKE3 block", unit: "MiB/s"},
	{id: "slice-bytes", work: "verified slice of 1 MiB of a BLAKE3 blob of 10 GiB, transferred", unit: "MiB", lower: true, targets: []target{atMost(1.1)}},
	{id: "slice-read", work: "the same, read by the server beyond the slice", unit: "KiB", lower: true, targets: []target{atMost(64)}},
	{id: "slice-time", work: "the same, time of the command", unit: "ms", lower: true},
	{id: "pg-write", work: "index in pgkv, records written in batches", unit: "records/s", targets: []target{atLeast(20_000)}, others: []string{sysKV, sysCopyFrom}},
	{id: "pg-p99", work: "index in pgkv, 4,000 finds a second on 16 connections, p99", unit: "ms", lower: true, targets: []target{atMost(5)}, others: []string{sysKV}},
	{id: "pg-p99-full", work: "the same, as fast as possible", unit: "ms", lower: true, targets: []target{atMost(5)}, others: []string{sysKV}},
	{id: "pg-finds", work: "the same, as fast as possible, finds", unit: "finds/s", others: []string{sysKV}},
	{id: "ipni-write", work: "provider index in process, records written, all merged", unit: "records/s", targets: []target{atLeast(600_000)}, others: []string{sysRows}},
	{id: "ipni-size", work: "the same, on disk", unit: "B/record", lower: true, targets: []target{atMost(146)}, others: []string{sysRows}},
	{id: "ipni-compact-size", work: "the same, compact records", unit: "B/record", lower: true, targets: []target{atMost(60)}},
	{id: "ipni-hit", work: "lookup in process, warm, found", unit: "µs", lower: true, targets: []target{atMost(10)}},
	{id: "ipni-miss", work: "lookup in process, warm, not found", unit: "µs", lower: true, targets: []target{atMost(2)}},
	{id: "ipni-first", work: "first of the 14,000 values of a key", unit: "ms", lower: true, targets: []target{atMost(5)}},
	{id: "ipni-json", work: "provider index, JSON PUT, until all is merged", unit: "records/s", targets: []target{atLeast(426_000), times(3, sysDHStore)}, others: []string{sysDHStore}},
	{id: "ipni-json-size", work: "the same, on disk", unit: "B/record", lower: true, targets: []target{atMost(146), times(1, sysDHStore)}, others: []string{sysDHStore}},
	{id: "ipni-get", work: "lookup over HTTP, 16 connections", unit: "req/s", targets: []target{times(2, sysDHStore)}, others: []string{sysDHStore}},
	{id: "ipni-p99", work: "lookup over HTTP, 1,000 a second during JSON PUT, p99", unit: "ms", lower: true, targets: []target{times(3, sysDHStore)}, others: []string{sysDHStore}},
	{id: "ipni-many", work: "first byte of the 14,000 values of a key over HTTP", unit: "ms", lower: true, targets: []target{atMost(5)}, others: []string{sysDHStore}},
	{id: "ipni-ingest", work: "advertisement chains ingested, until all is merged", unit: "multihashes/s", targets: []target{atLeast(float64(3 * 80_000 * runtime.NumCPU()))}},
	{id: "ipni-mem-ingest", work: "resident, the same, peak", unit: "MiB", lower: true},
	{id: "ipni-mem-write", work: "resident, with little memory, writing 50,000,000 records in process, peak", unit: "MiB", lower: true, targets: []target{atMost(1024)}},
	{id: "ipni-mem-node", work: "the same, node that looks them up and ingests more, peak", unit: "MiB", lower: true, targets: []target{atMost(1024)}},
}

// scenarios are what is run, in order.
var scenarios = []scenario{
	{name: "whole CAR, leaves of 1 MiB", rows: []string{"car-1m", "first-1m"}, run: wholeCAR(mib, "1m")},
	{name: "whole CAR, leaves of 256 KiB", rows: []string{"car-256k", "first-256k"}, run: wholeCAR(256*kib, "256k")},
	{name: "whole CAR, leaves of 4 KiB", rows: []string{"car-4k", "first-4k"}, run: wholeCAR(4*kib, "4k")},
	{name: "raw blocks of 256 KiB", rows: []string{"raw-256k"}, run: rawBlocks(256*kib, 1024, "raw-256k")},
	{name: "raw blocks of 4 KiB", rows: []string{"raw-4k"}, run: rawBlocks(4*kib, 16384, "raw-4k")},
	{name: "entity-bytes", rows: []string{"entity"}, run: entityBytes},
	{name: "HEAD", rows: []string{"head"}, run: head1G},
	{name: "slow readers", rows: []string{"mem-serve", "mem-serve-now"}, run: slowReaders},
	{name: "add", rows: []string{"add", "mem-add"}, run: addFile},
	{name: "index", rows: []string{"index-p99", "index-size"}, run: bigIndex},
	{name: "file in place", rows: []string{"place"}, run: placeFile, real: true},
	{name: "files in place", rows: []string{"place-files", "scan"}, run: placeFiles, real: true},
	{name: "CAR of a file in place", rows: []string{"place-car", "place-young"}, run: placedCAR, real: true},
	{name: "CAR from S3", rows: []string{"s3-car", "s3-first", "s3-requests", "s3-place", "s3-place-first", "s3-place-requests"}, run: bucketCAR, real: true},
	{name: "BLAKE3", rows: []string{"blake3"}, run: placeBlob, real: true},
	{name: "slices of a BLAKE3 blob", rows: []string{"slice-bytes", "slice-read", "slice-time"}, run: blobSlices, real: true},
	{name: "PostgreSQL", rows: []string{"pg-write", "pg-p99", "pg-p99-full", "pg-finds"}, run: postgres},
	{name: "10 GiB", rows: []string{"mem-add-10g", "head-10g"}, run: tenGiB},
	{name: "provider index in process", rows: []string{"ipni-write", "ipni-size", "ipni-compact-size", "ipni-hit", "ipni-miss", "ipni-first"}, run: indexValues},
	{name: "provider index over HTTP", rows: []string{"ipni-json", "ipni-json-size", "ipni-get", "ipni-p99", "ipni-many"}, run: indexOverHTTP, real: true},
	{name: "ingestion of chains", rows: []string{"ipni-ingest", "ipni-mem-ingest"}, run: ingestChains, real: true},
	{name: "memory of a provider index", rows: []string{"ipni-mem-write", "ipni-mem-node"}, run: indexMemory, real: true},
}
