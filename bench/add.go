package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// addFile measures adding a file with leaves of 1 MiB to an empty store, as the wall
// time of a process.
func addFile(ctx context.Context, b *bench) error {
	file, err := b.source(ctx, b.scale.add)
	if err != nil {
		return err
	}
	defer os.Remove(file)
	root := ""
	return b.inTurn(ctx, []string{sysHashstream, sysBoxo, sysBound}, func(_ int, system string) error {
		if system == sysBound { // every byte twice
			b.record("add", system, sample{Value: hashRate(cores(), b.scale.load/2) / 2})
			return b.copyOnce(ctx, "add", file)
		}
		dir, err := os.MkdirTemp(b.work, "add-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := warmMemory(ctx, dir, b.scale.add+b.scale.add/16); err != nil {
			return err
		}
		f, err := b.addOnce(ctx, system, dir, file)
		if err != nil {
			return err
		}
		if root == "" {
			root = f.stdout
		}
		if f.stdout != root {
			return fmt.Errorf("says %q, the other importer %q", f.stdout, root)
		}
		m := measured{bytes: b.scale.add, wall: f.wall, cpu: f.cpu}
		b.record("add", system, sample{m.mibPerSecond(), m.cpuPerGiB()})
		b.record("mem-add", system, sample{Value: float64(f.peak) / mib})
		return nil
	})
}

// warmMemory writes and frees n bytes, so that every system finds memory in the same
// state, whoever came before it in the round.
func warmMemory(ctx context.Context, dir string, n int64) error {
	file := filepath.Join(dir, "warm")
	defer os.Remove(file)
	return writeRandom(ctx, file, n)
}

func (b *bench) addOnce(ctx context.Context, system, dir, file string) (finished, error) {
	if system == sysBoxo {
		return b.runBoxoAdd(ctx, filepath.Join(dir, "flatfs"), file)
	}
	home, err := b.newHome(ctx, dir)
	if err != nil {
		return finished{}, err
	}
	return b.runHashstreamAdd(ctx, home, file, mib)
}

// tenGiB adds 10 GiB once, on disk because that is more than memory should hold, and
// asks for the HEAD of its CAR.
func tenGiB(ctx context.Context, b *bench) error {
	if b.binary == "" {
		return nil
	}
	need := 2*b.scale.huge + gib
	if free, err := freeBytes(b.bigDir); err != nil || free < need {
		return cmp.Or(err, fmt.Errorf("%d GiB must be free in %s", need/gib, b.bigDir))
	}
	dir, err := os.MkdirTemp(b.bigDir, "hashstream-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "source")
	if err := writeRandom(ctx, file, b.scale.huge); err != nil {
		return err
	}
	home, err := b.newHome(ctx, dir)
	if err != nil {
		return err
	}
	f, err := b.runHashstreamAdd(ctx, home, file, mib)
	if err != nil {
		return err
	}
	b.record("mem-add-10g", sysHashstream, sample{Value: float64(f.peak) / mib})
	b.note("Adding %d MiB in the folder of -big-dir took %s.", b.scale.huge/mib, f.wall.Round(time.Second))
	return b.inTurn(ctx, []string{sysHashstream}, func(int, string) error {
		s, err := b.startHashstream(ctx, home)
		if err != nil {
			return err
		}
		defer s.stop()
		return b.heads(ctx, s, "/ipfs/"+f.stdout+"?format=car", "head-10g", sysHashstream)
	})
}
