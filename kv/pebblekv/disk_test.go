package pebblekv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMain makes the test binary its own child: with the variable set it is
// another process at the same directory.
func TestMain(m *testing.M) {
	switch dir, role, _ := strings.Cut(os.Getenv("PEBBLEKV_CHILD"), "|"); role {
	case "":
		os.Exit(m.Run())
	case "opener":
		_, err := pebblekv.Open(dir, nil)
		fmt.Println(errors.Is(err, pebblekv.ErrLocked))
	case "writer":
		writer(dir)
	case "limited":
		limited(dir)
	}
}

func child(t *testing.T, dir, role string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "PEBBLEKV_CHILD="+dir+"|"+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, bufio.NewReader(out)
}

func Example() {
	dir, err := os.MkdirTemp("", "pebblekv")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := pebblekv.Open(dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	ctx := context.Background()
	if err := s.Batch(ctx, []kv.Op{kv.Put([]byte("fruit/pear"), []byte("green"))}); err != nil {
		fmt.Println(err)
	}
	v, err := s.Get(ctx, []byte("fruit/pear"))
	fmt.Printf("%s %v\n", v, err)
	// Output: green <nil>
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	if _, err := pebblekv.Open(dir, nil); !errors.Is(err, pebblekv.ErrLocked) {
		t.Errorf("Open twice in one process: %v, want ErrLocked", err)
	}
	cmd, out := child(t, dir, "opener")
	answer, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || string(answer) != "true\n" {
		t.Errorf("Open in another process: %s, %v, want ErrLocked", answer, err)
	}
	must(t, s.Batch(t.Context(), []kv.Op{kv.Put([]byte("k"), nil)}))
	must(t, s.Close())
	if _, err := open(t, dir, nil).Get(t.Context(), []byte("k")); err != nil {
		t.Errorf("after Close and Open: %v", err)
	}
}

// writer stores pairs by Batch and Update and prints each key once it is durable.
func writer(dir string) {
	s, err := pebblekv.Open(dir, nil)
	for i := 0; err == nil; i++ {
		key := fmt.Appendf(nil, "%d-%d", os.Getpid(), i)
		if i%2 == 0 {
			err = s.Batch(context.Background(), []kv.Op{kv.Put(key, key), kv.Put(append([]byte("twin"), key...), key)})
		} else {
			err = s.Update(context.Background(), key, func([]byte) ([]byte, error) { return key, nil })
		}
		if err == nil {
			fmt.Println(string(key))
		}
	}
	fmt.Fprintln(os.Stderr, err)
}

// TestKill kills writers. What they acknowledged is there, and batches are whole.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []string
	for range 3 {
		cmd, out := child(t, dir, "writer")
		line, err := out.ReadString('\n') // now it is at work
		must(t, err)
		time.AfterFunc(time.Duration(rand.IntN(50))*time.Millisecond, func() { cmd.Process.Kill() })
		for ; err == nil; line, err = out.ReadString('\n') {
			acknowledged = append(acknowledged, strings.TrimSpace(line))
		}
		cmd.Wait()
	}
	s := open(t, dir, nil)
	for _, key := range acknowledged {
		if v, err := s.Get(t.Context(), []byte(key)); err != nil || string(v) != key {
			t.Errorf("%s was acknowledged and is %q, %v", key, v, err)
		}
	}
	for p, err := range s.Scan(t.Context(), kv.Prefix([]byte("twin"))) {
		must(t, err)
		if _, err := s.Get(t.Context(), p.Value); err != nil {
			t.Errorf("half a batch: %v", err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	s := open(t, t.TempDir(), &pebblekv.Options{MinFree: 1 << 60})
	if err := s.Batch(t.Context(), []kv.Op{kv.Put([]byte("k"), nil)}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Batch: %v, want ENOSPC", err)
	}
	if err := s.Update(t.Context(), []byte("k"), func([]byte) ([]byte, error) { return []byte("x"), nil }); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Update: %v, want ENOSPC", err)
	}
	if _, err := s.Get(t.Context(), []byte("k")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get: %v, want fs.ErrNotExist", err)
	}
}

// limited is a process whose files cannot grow, so that the log cannot either.
func limited(dir string) {
	s, err := pebblekv.Open(dir, &pebblekv.Options{MinFree: -1})
	if err == nil {
		err = s.Batch(context.Background(), []kv.Op{kv.Put([]byte("before"), nil)})
	}
	limit := syscall.Rlimit{Cur: 100 << 10, Max: 100 << 10}
	if err = errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)); err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		err = s.Batch(context.Background(), []kv.Op{kv.Put([]byte("large"), make([]byte, 1<<20))})
		fmt.Println(err != nil && strings.Contains(err.Error(), "file too large"))
	}
	_, err = s.Get(context.Background(), []byte("before"))
	fmt.Println(err)
	fmt.Println(s.Close() != nil)
}

// TestBrokenLog: a failed write is an error, not the end of the process.
func TestBrokenLog(t *testing.T) {
	dir := t.TempDir()
	cmd, out := child(t, dir, "limited")
	answer, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || string(answer) != "true\ntrue\n<nil>\ntrue\n" {
		t.Errorf("the process printed %q, %v", answer, err)
	}
	s := open(t, dir, nil)
	if _, err := s.Get(t.Context(), []byte("before")); err != nil {
		t.Errorf("what was acknowledged: %v", err)
	}
	if _, err := s.Get(t.Context(), []byte("large")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what failed: %v", err)
	}
}

func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	must(t, s.Batch(t.Context(), []kv.Op{kv.Put([]byte("k"), nil)}))
	must(t, s.Close())
	manifests, err := filepath.Glob(filepath.Join(dir, "MANIFEST-*"))
	must(t, err)
	for _, m := range manifests {
		must(t, os.WriteFile(m, []byte("damaged"), 0o600))
	}
	for range 2 { // the lock is given back
		if _, err := pebblekv.Open(dir, nil); err == nil || errors.Is(err, pebblekv.ErrLocked) {
			t.Errorf("Open of a damaged directory: %v", err)
		}
	}
}

// TestDamagedTable flips one bit in the middle of each table.
func TestDamagedTable(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	var ops []kv.Op
	for i := range 5000 {
		k, v := record(i)
		ops = append(ops, kv.Put(k, v))
	}
	must(t, errors.Join(s.Batch(t.Context(), ops), s.Compact(t.Context()), s.Close()))
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal("no tables", err)
	}
	for _, name := range tables {
		b, err := os.ReadFile(name)
		must(t, err)
		b[len(b)/2] ^= 1
		must(t, os.WriteFile(name, b, 0o600))
	}
	s = open(t, dir, nil)
	failed := 0
	for i := range 5000 {
		k, _ := record(i)
		if _, err := s.Get(t.Context(), k); errors.Is(err, digest.ErrMismatch) {
			failed++
		} else if err != nil {
			t.Fatalf("Get: %v, want digest.ErrMismatch", err)
		}
	}
	if failed == 0 || failed == 5000 {
		t.Errorf("%d of 5000 records are damaged, want those of one block", failed)
	}
	for _, err = range s.Scan(t.Context(), kv.Range{}) {
	}
	if !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("Scan: %v, want digest.ErrMismatch", err)
	}
}

func TestClose(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	must(t, s.Batch(t.Context(), []kv.Op{kv.Put([]byte("a"), nil), kv.Put([]byte("b"), nil)}))
	var wg sync.WaitGroup
	var closed atomic.Bool
	n := 0
	for _, err := range s.Scan(t.Context(), kv.Range{}) {
		must(t, err)
		if n++; n == 1 {
			wg.Go(func() { // waits for this scan
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				closed.Store(true)
			})
			for err = nil; err == nil; _, err = s.Get(t.Context(), []byte("a")) {
			}
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("Get while closing: %v", err)
			}
			time.Sleep(50 * time.Millisecond)
			if closed.Load() {
				t.Error("Close returned in the middle of a scan")
			}
		}
	}
	wg.Wait()
	if n != 2 {
		t.Errorf("the scan saw %d pairs, want 2", n)
	}
	for _, err := range s.Scan(t.Context(), kv.Range{}) {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Scan after Close: %v", err)
		}
	}
	_, size := s.Size(t.Context(), kv.Range{})
	for call, err := range map[string]error{
		"Batch": s.Batch(t.Context(), nil), "Flush": s.Flush(t.Context()), "Compact": s.Compact(t.Context()), "Size": size,
	} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s after Close: %v", call, err)
		}
	}
}

func TestSize(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	size := func(r kv.Range) int64 {
		t.Helper()
		n, err := s.Size(t.Context(), r)
		must(t, err)
		return n
	}
	if n := size(kv.Range{}); n != 0 {
		t.Errorf("an empty store has %d bytes", n)
	}
	var ops []kv.Op
	for i := range 20_000 {
		k, v := record(i)
		ops = append(ops, kv.Put(append([]byte{'a' + byte(i%2)}, k...), v))
	}
	must(t, s.Batch(t.Context(), ops))
	must(t, s.Flush(t.Context()))
	all, a, b := size(kv.Range{}), size(kv.Prefix([]byte("a"))), size(kv.Range{From: []byte("b")})
	if all < 20_000*40 || all > 20_000*90 || a < all/3 || b < all/3 || a+b > all+all/10 {
		t.Errorf("sizes: all %d, a %d, b %d", all, a, b)
	}
	must(t, s.Batch(t.Context(), []kv.Op{kv.DeleteRange(kv.Prefix([]byte("b")))}))
	must(t, s.Compact(t.Context()))
	if n := size(kv.Range{}); n > a+a/10 {
		t.Errorf("after deleting b and compacting %d bytes are left, a had %d", n, a)
	}
	if n := size(kv.Prefix([]byte("zzz"))); n != 0 {
		t.Errorf("an empty range has %d bytes", n)
	}
}
