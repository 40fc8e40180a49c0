package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/blake3"
)

// placeBlob measures indexing one file as one BLAKE3 block, which hashes it and keeps its
// tree. The bound is all cores hashing as many bytes once, in memory.
func placeBlob(ctx context.Context, b *bench) error {
	if b.binary == "" {
		return nil
	}
	file, err := b.source(ctx, b.scale.add)
	if err != nil {
		return err
	}
	defer os.Remove(file)
	return b.inTurn(ctx, []string{sysHashstream, sysBound}, func(_ int, system string) error {
		if system == sysBound {
			b.record("blake3", system, sample{Value: hashRateOf(cores(), b.scale.load/2, blake3.Sum256)})
			return nil
		}
		home, err := b.newHome(ctx, b.work)
		if err != nil {
			return err
		}
		defer os.RemoveAll(home)
		f, err := b.runHashstreamBlob(ctx, home, file)
		if err != nil {
			return err
		}
		m := measured{bytes: b.scale.add, wall: f.wall, cpu: f.cpu}
		b.record("blake3", system, sample{m.mibPerSecond(), m.cpuPerGiB()})
		return nil
	})
}

const sliceSize = mib

// blobSlices measures what it takes to get verified slices of a BLAKE3 blob of 10 GiB: the bytes
// between client and server, and what the server reads. In each round the
// server is started anew, so that it has nothing in memory, and the slice is another one.
func blobSlices(ctx context.Context, b *bench) error {
	if b.binary == "" {
		return nil
	}
	if free, err := freeBytes(b.bigDir); err != nil || free < gib {
		return cmp.Or(err, fmt.Errorf("1 GiB must be free in %s", b.bigDir))
	}
	dir, err := os.MkdirTemp(b.bigDir, "hashstream-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "blob")
	at, err := sparseFile(file, b.scale.huge, b.rounds)
	if err != nil {
		return err
	}
	home, err := b.newHome(ctx, dir)
	if err != nil {
		return err
	}
	f, err := b.runHashstreamBlob(ctx, home, file)
	if err != nil {
		return err
	}
	b.note("Indexing %d MiB of a sparse file as one BLAKE3 block took %s.", b.scale.huge/mib, f.wall.Round(100*time.Millisecond))
	return b.inTurn(ctx, []string{sysHashstream}, func(round int, _ string) error {
		return b.slice(ctx, home, dir, f.stdout, file, at[round])
	})
}

// slice gets sliceSize bytes from offset at of the blob, which is file.
func (b *bench) slice(ctx context.Context, home, dir, root, file string, at int64) error {
	s, err := b.startHashstream(ctx, home, rootsAre(filepath.Dir(file)), "HASHSTREAM_SCRUB_ENABLED=false")
	if err != nil {
		return err
	}
	defer s.stop()
	p, err := newWire(s.addr)
	if err != nil {
		return err
	}
	defer p.close()
	before, err := readBytes(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	out := filepath.Join(dir, "slice")
	f, err := runToEnd(ctx, b.binary, "--home", home, "get", "--quiet", "--force", "--gateway", "http://"+p.Addr().String(),
		"--range", fmt.Sprintf("%d:%d", at, at+sliceSize-1), "--output", out, root)
	if err != nil {
		return err
	}
	after, err := readBytes(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := sameSlice(out, file, at); err != nil {
		return err
	}
	b.record("slice-bytes", sysHashstream, sample{Value: float64(p.bytes.Load()) / mib})
	b.record("slice-read", sysHashstream, sample{Value: float64(after-before-sliceSize) / kib})
	b.record("slice-time", sysHashstream, sample{Value: f.wall.Seconds() * 1000})
	return nil
}

func sameSlice(out, file string, at int64) error {
	got, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	want := make([]byte, sliceSize)
	if _, err := f.ReadAt(want, at); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("the slice has other bytes than the file")
	}
	return nil
}

// sparseFile makes a file with random bytes around n offsets, which it returns. None is at the
// edge of anything.
func sparseFile(path string, size int64, n int) (at []int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	random := rand.NewChaCha8(sha256.Sum256([]byte("hashstream bench slices")))
	content := make([]byte, 2*sliceSize)
	for i := range n {
		off := size*int64(i+1)/int64(n+1) + 12345
		random.Read(content) // never fails
		if _, err := f.WriteAt(content, max(0, off-sliceSize/2)); err != nil {
			return nil, err
		}
		at = append(at, off)
	}
	return at, f.Close()
}

// readBytes returns what a process has read by system calls, from files and connections alike.
func readBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "rchar:"); ok {
			return strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		}
	}
	return 0, errors.New("no rchar in /proc/PID/io")
}

// wire is a proxy that passes connections on and counts their bytes, both ways.
type wire struct {
	net.Listener
	bytes   atomic.Int64
	running sync.WaitGroup
}

func newWire(addr string) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{Listener: l}
	w.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			w.running.Go(func() { w.pass(c, addr) })
		}
	})
	return w, nil
}

func (w *wire) pass(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(client, &counted{server, &w.bytes})
		client.Close()
	})
	io.Copy(server, &counted{client, &w.bytes})
	server.Close()
	back.Wait()
}

func (w *wire) close() {
	w.Listener.Close()
	w.running.Wait()
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
