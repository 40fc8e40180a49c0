package main

// row is one line of the report.
type row struct {
	id, work, unit string
	lower          bool // a smaller value is better
	targets        []target
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
	{name: "10 GiB", rows: []string{"mem-add-10g", "head-10g"}, run: tenGiB},
}
