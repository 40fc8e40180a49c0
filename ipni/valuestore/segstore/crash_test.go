package segstore

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/catalog"
	"github.com/hashstream/hashstream/ipni/valuestore/valuestoretest"
)

// small options flush and merge all the time.
func small() *Options { return &Options{Memory: 200 << 10, Partitions: 4, Reserve: -1} }

// numbered returns the records of a put, which are known by its number.
func numbered(n int) (records valuestore.Records) {
	value := binary.BigEndian.AppendUint64(make([]byte, 92, 100), uint64(n))
	for i := range 20 {
		records = records.Append(valuestoretest.Key(n*20+i), value)
	}
	return records
}

// check wants the records of a put to be there, all or none of them.
func check(t *testing.T, s *Store, n int, there bool) {
	t.Helper()
	for e := range numbered(n).All() {
		found := false
		for v, err := range s.Values(t.Context(), e.Key) {
			if err != nil {
				t.Fatal(err)
			}
			found = found || string(v.Bytes) == string(e.Value)
		}
		if found != there {
			t.Fatalf("put %d: there %v, want %v", n, found, there)
		}
	}
}

const childArgument = "-segstore-child="

// TestMain makes the test binary the child that TestKill kills.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], childArgument) {
		child(strings.TrimPrefix(os.Args[1], childArgument))
		return
	}
	os.Exit(m.Run())
}

// child puts from many goroutines and prints the number of each put that was
// acknowledged, and deletes every third again.
func child(argument string) {
	start, dir, _ := strings.Cut(argument, ":")
	from, err := strconv.Atoi(start)
	if err != nil {
		panic(err)
	}
	s, err := Open(dir, small())
	if err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	var out sync.Mutex
	say := func(kind string, n int) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(kind, n)
	}
	for w := range 4 {
		wg.Go(func() {
			for n := from + w; ; n += 4 {
				ctx := context.Background()
				if err := s.Put(ctx, 1, numbered(n)); err != nil {
					panic(err)
				}
				say("put", n)
				if n%3 == 0 {
					say("deleting", n)
					if err := s.Delete(ctx, 1, numbered(n)); err != nil {
						panic(err)
					}
					say("deleted", n)
				}
			}
		})
	}
	wg.Wait()
}

// TestKill kills a process in mid-write, again and again: what it said is there is there.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	state := map[int]string{}
	next := 0
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for range 6 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], fmt.Sprintf("%s%d:%s", childArgument, next, dir))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, until := bufio.NewScanner(out), 50+rng.IntN(1500)
		for i := 0; lines.Scan(); i++ {
			if i == until {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			kind, number, ok := strings.Cut(lines.Text(), " ")
			n, err := strconv.Atoi(number)
			if err != nil || !ok {
				continue // cut off
			}
			state[n] = kind
			next = max(next, n+100)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		s := openStore(t, dir, small())
		for n, kind := range state {
			if kind != "deleting" {
				check(t, s, n, kind == "put")
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(state) < 100 {
		t.Errorf("only %d puts were seen", len(state))
	}
	s := openStore(t, dir, small())
	defer s.Close()
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n, kind := range state {
		if kind != "deleting" {
			check(t, s, n, kind == "put")
		}
	}
}

// fill makes a store with some segments and a log, and closes it.
func fill(t *testing.T, dir string, puts int) {
	t.Helper()
	s := openStore(t, dir, small())
	for n := range puts {
		if err := s.Put(t.Context(), 1, numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, dir, kind string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*."+kind))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestTornLog cuts the last log at all kinds of places, and writes garbage behind it: puts
// are lost from the end only, as those are that were never acknowledged.
func TestTornLog(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, nil)
	for n := range 10 {
		if err := s.Put(t.Context(), 1, numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	logs := files(t, dir, "log")
	whole, err := os.ReadFile(logs[0])
	if err != nil || len(logs) != 1 {
		t.Fatal(err, logs)
	}
	for _, cut := range []int{0, 10, 4096, 4097, 5000, 8192, len(whole) - 4096, len(whole) - 2000, len(whole) - 4096 - 2000} {
		for _, garbage := range []int{0, 1, 100, 9000} {
			if cut < 4096 && garbage > 100 {
				continue // a log without a head and with frames is no crash
			}
			torn := slices.Clone(whole[:cut])
			for range garbage {
				torn = append(torn, 0x5a)
			}
			copied := t.TempDir()
			for _, name := range []string{logs[0], filepath.Join(dir, catalog.Manifest)} {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if name == logs[0] {
					b = torn
				}
				if err := os.WriteFile(filepath.Join(copied, filepath.Base(name)), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s := openStore(t, copied, nil)
			left := 0
			for r, err := range s.Range(t.Context(), valuestore.Everything()) {
				if err != nil {
					t.Fatal(err)
				}
				left = max(left, int(binary.BigEndian.Uint64(r.Bytes[92:]))+1)
			}
			for n := range 10 {
				check(t, s, n, n < left)
			}
			if want := max(cut/4096-1, 0); left != want {
				t.Errorf("cut at %d: %d puts are left, want %d", cut, left, want)
			}
			if err := s.Put(t.Context(), 1, numbered(77)); err != nil {
				t.Fatal(err)
			}
			s.Close()
			s = openStore(t, copied, nil)
			check(t, s, 77, true)
			s.Close()
		}
	}
}

// TestDamage flips bits of every kind of file: whoever would read them is told the
// file and the offset, and nothing is told as absent.
func TestDamage(t *testing.T) {
	const puts = 150
	origin := t.TempDir()
	fill(t, origin, puts)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, kind := range []string{"log", "seg"} {
		names := files(t, origin, kind)
		if len(names) == 0 {
			t.Fatalf("there is no %s", kind)
		}
		for round := range 40 {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, filepath.Base(names[rng.IntN(len(names))]))
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			at := rng.IntN(len(b))
			if kind == "log" {
				at = rng.IntN(max(len(b)-8192, 1)) &^ 4095 // the first bytes of a page, not of the last frame
				at += rng.IntN(1000)
			}
			if round == 0 && kind == "seg" {
				at = len(b) - 1 - rng.IntN(72) // blocks are not read that a run has too
			}
			b[at] ^= 1 << rng.IntN(8)
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := readAll(t, dir, puts); err == nil {
				if round == 0 || kind == "log" && at%4096 < 28 {
					t.Errorf("%s: byte %d is not checked", kind, at)
				}
			} else if !errors.Is(err, digest.ErrMismatch) || !strings.Contains(err.Error(), filepath.Base(name)) && !strings.Contains(err.Error(), "log") {
				t.Errorf("%s: byte %d: %v", kind, at, err)
			}
		}
	}
}

// readAll reads what [fill] wrote. What is missing fails the test, what cannot be read is
// the error.
func readAll(t *testing.T, dir string, puts int) error {
	t.Helper()
	s, err := Open(dir, small())
	if err != nil {
		return err
	}
	defer s.Close()
	for n := range puts {
		for e := range numbered(n).All() {
			found := false
			for v, err := range s.Values(t.Context(), e.Key) {
				if err != nil {
					return err
				}
				found = found || string(v.Bytes) == string(e.Value)
			}
			if !found {
				t.Errorf("a record of put %d is told as absent", n)
				return nil
			}
		}
	}
	for _, err := range s.Range(t.Context(), valuestore.Everything()) {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestMissing takes files away.
func TestMissing(t *testing.T) {
	origin := t.TempDir()
	fill(t, origin, 150)
	for _, name := range []string{files(t, origin, "seg")[0], filepath.Join(origin, catalog.Manifest)} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(dir, small()); err == nil {
			s.Close()
			t.Errorf("opened without %s", filepath.Base(name))
		}
	}
}
