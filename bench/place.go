package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// placeFile measures indexing one file where it is, with leaves of 1 MiB, as the wall time
// of a process with an empty home. The bound is all cores hashing as many bytes once, in memory.
func placeFile(ctx context.Context, b *bench) error {
	file, err := b.source(ctx, b.scale.add)
	if err != nil {
		return err
	}
	defer os.Remove(file)
	root, err := fileRoot(ctx, file, mib)
	if err != nil {
		return err
	}
	return b.inTurn(ctx, []string{sysHashstream, sysBound, sysRead}, func(_ int, system string) error {
		switch system {
		case sysBound:
			b.record("place", system, sample{Value: hashRate(cores(), b.scale.load/2)})
			return nil
		case sysRead:
			m, err := readByAll(ctx, file)
			b.record("place", system, sample{m.mibPerSecond(), m.cpuPerGiB()})
			return err
		}
		f, err := b.placeOnce(ctx, file, mib, root.String())
		if err != nil {
			return err
		}
		m := measured{bytes: b.scale.add, wall: f.wall, cpu: f.cpu}
		b.record("place", system, sample{m.mibPerSecond(), m.cpuPerGiB()})
		return nil
	})
}

// placeOnce indexes file in a fresh home and compares the root, unless it is empty.
func (b *bench) placeOnce(ctx context.Context, file string, leaf int64, root string) (finished, error) {
	home, err := b.newHome(ctx, b.work)
	if err != nil {
		return finished{}, err
	}
	defer os.RemoveAll(home)
	f, err := b.runHashstreamPlace(ctx, home, file, leaf, rootsAre(b.work))
	if err == nil && root != "" && f.stdout != root {
		err = fmt.Errorf("says %q, want %s", f.stdout, root)
	}
	return f, err
}

// fileRoot returns the root that boxo's importer gives a file.
func fileRoot(ctx context.Context, file string, leaf int64) (cid.Cid, error) {
	f, err := os.Open(file)
	if err != nil {
		return cid.Undef, err
	}
	defer f.Close()
	o := &outline{nodes: map[cid.Cid]ipld.Node{}, places: map[cid.Cid]int64{}}
	n, err := importFile(readerWithContext{ctx, f}, leaf, o)
	if err != nil {
		return cid.Undef, err
	}
	return n.Cid(), nil
}

// readByAll reads a file once, on all cores, 1 MiB at a time.
func readByAll(ctx context.Context, file string) (measured, error) {
	f, err := os.Open(file)
	if err != nil {
		return measured{}, err
	}
	defer f.Close()
	var next, total atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, cores())
	cpu, start := ownCPU(), time.Now()
	for i := range cores() {
		wg.Go(func() {
			buf := make([]byte, mib)
			for errs[i] == nil && ctx.Err() == nil {
				var n int
				n, errs[i] = f.ReadAt(buf, next.Add(mib)-mib)
				total.Add(int64(n))
			}
			if errs[i] == io.EOF {
				errs[i] = nil
			}
		})
	}
	wg.Wait()
	return measured{bytes: total.Load(), wall: time.Since(start), cpu: ownCPU() - cpu}, errors.Join(errs...)
}

// smallFile is the size of the files of a tree.
const smallFile = 4 * kib

// placeFiles measures indexing a tree of small files where it is, and scanning it again
// when nothing has changed, both as the wall time of a process.
func placeFiles(ctx context.Context, b *bench) error {
	if b.binary == "" {
		return nil
	}
	tree, err := b.smallFiles(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	root := ""
	return b.inTurn(ctx, []string{sysHashstream, sysPlain, sysBound}, func(_ int, system string) error {
		if system == sysBound {
			return b.boundOfFiles(ctx, tree)
		}
		home, err := b.newHome(ctx, b.work)
		if err != nil {
			return err
		}
		defer os.RemoveAll(home)
		add := b.runHashstreamPlace
		if system == sysPlain {
			add = b.runHashstreamAdd
		}
		f, err := add(ctx, home, tree, mib, rootsAre(b.work))
		if err != nil {
			return err
		}
		if root == "" {
			root = f.stdout
		}
		if f.stdout != root {
			return fmt.Errorf("says %q, before it was %q", f.stdout, root)
		}
		b.recordFiles("place-files", system, f.wall, f.cpu)
		if system == sysPlain {
			return nil
		}
		if f, err = b.runHashstreamScan(ctx, home, tree, rootsAre(b.work)); err != nil {
			return err
		}
		b.recordFiles("scan", system, f.wall, 0)
		return checkScan(f.stdout, b.scale.files)
	})
}

func (b *bench) recordFiles(row, system string, wall, cpu time.Duration) {
	m := measured{requests: int64(b.scale.files), bytes: int64(b.scale.files) * smallFile, wall: wall, cpu: cpu}
	b.record(row, system, sample{m.perSecond(), m.cpuPerGiB()})
}

// checkScan looks whether a scan saw every file, and no change.
func checkScan(line string, files int) error {
	var got struct{ Files, Unchanged int }
	if err := decodeJSON(line, &got); err != nil {
		return err
	}
	if got.Files != files || got.Unchanged != files {
		return fmt.Errorf("scan: %d files, %d unchanged, want %d", got.Files, got.Unchanged, files)
	}
	return nil
}

// boundOfFiles measures what reading the tree takes without an index: all cores open, read
// and hash every file; and one walk that asks for the state of each.
func (b *bench) boundOfFiles(ctx context.Context, tree string) error {
	cpu, start := ownCPU(), time.Now()
	if err := hashTree(ctx, tree); err != nil {
		return err
	}
	b.recordFiles("place-files", sysBound, time.Since(start), ownCPU()-cpu)
	start = time.Now()
	err := filepath.WalkDir(tree, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			_, err = d.Info()
		}
		return err
	})
	b.recordFiles("scan", sysBound, time.Since(start), 0)
	return err
}

// hashTree hashes every file below dir, on all cores.
func hashTree(ctx context.Context, dir string) error {
	paths, failed := make(chan string, 1024), make([]error, cores())
	var wg sync.WaitGroup
	for i := range cores() {
		wg.Go(func() {
			buf := make([]byte, mib)
			for path := range paths {
				if failed[i] == nil {
					failed[i] = hashFile(path, buf)
				}
			}
		})
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths <- path
		}
		return errors.Join(err, ctx.Err())
	})
	close(paths)
	wg.Wait()
	return errors.Join(append(failed, err)...)
}

func hashFile(path string, buf []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.CopyBuffer(h, struct{ io.Reader }{f}, buf)
	h.Sum(nil)
	return err
}

// smallFiles makes a tree of files, a thousand to a directory.
func (b *bench) smallFiles(ctx context.Context) (string, error) {
	tree := filepath.Join(b.work, "tree")
	random := rand.NewChaCha8(sha256.Sum256([]byte("hashstream bench files")))
	content := make([]byte, smallFile)
	for i := range b.scale.files {
		dir := filepath.Join(tree, fmt.Sprintf("%03d", i/1000))
		if i%1000 == 0 {
			if err := errors.Join(ctx.Err(), os.MkdirAll(dir, 0o755)); err != nil {
				return "", err
			}
		}
		random.Read(content) // never fails
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d", i%1000)), content, 0o644); err != nil {
			return "", err
		}
	}
	return tree, nil
}
