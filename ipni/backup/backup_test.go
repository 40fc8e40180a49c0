package backup_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/backup"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// TestRoundTrip carries an index between stores of each kind and mode, where that can be.
func TestRoundTrip(t *testing.T) {
	for _, from := range kinds {
		for _, compact := range []bool{false, true} {
			src := newIndex(t, from, compact)
			src.fill(t)
			if !compact {
				src.foreign(t)
			}
			file, totals := src.write(t)
			h, inspected, err := backup.Inspect(bytes.NewReader(file))
			if err != nil || inspected != totals || h != (backup.Header{Compact: compact, Created: created}) {
				t.Fatalf("inspect: %+v, %+v, %v, want %+v", h, inspected, err, totals)
			}
			if totals.Rows != 3 || totals.Metadata != 2 || totals.Records < 4050 {
				t.Errorf("%+v", totals)
			}
			want := slices.DeleteFunc(src.content(t), func(line string) bool {
				return strings.HasPrefix(line, "Na") || strings.HasPrefix(line, "Nc") || strings.HasPrefix(line, "M:") || strings.HasPrefix(line, "O:") ||
					strings.HasPrefix(line, "Nic")
			})
			for _, to := range kinds {
				for _, toCompact := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s,%t to %s,%t", from, compact, to, toCompact), func(t *testing.T) {
						dst := newIndex(t, to, toCompact)
						err := dst.restore(t, file, nil)
						if !compact && toCompact {
							if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "sealed") {
								t.Errorf("into a compact store: %v", err)
							}
							return
						}
						if err != nil {
							t.Fatal(err)
						}
						got := slices.DeleteFunc(dst.content(t), func(line string) bool { return strings.HasPrefix(line, "Nic") })
						if diff := cmp.Diff(want, got); diff != "" {
							t.Error(diff)
						}
						// It is the same index: what is removed is gone, an epoch at a time.
						if err := dst.Remove(t.Context(), testContext(1, "a"), 6<<32); err != nil {
							t.Fatal(err)
						}
						for n, want := range map[int]bool{500: false, 1500: true, 2500: true} {
							found := false
							for c, err := range dst.Contexts(t.Context(), hash(n)) {
								if err != nil {
									t.Fatal(err)
								}
								found = found || c == testContext(1, "a")
							}
							if found != want {
								t.Errorf("multihash %d is there: %t, want %t", n, found, want)
							}
						}
					})
				}
			}
		}
	}
}

// TestEpochs: no epoch that the records have is given out again, even if the rows do not know
// of it yet; those of foreign writers do not count.
func TestEpochs(t *testing.T) {
	src := newIndex(t, "kv", false)
	src.fill(t) // numbers up to 4 are given out, and there are epochs of 5 and 6
	if err := src.Put(t.Context(), ipni.Group{Context: testContext(3, "z"), Epoch: 1 << 62}, hashes(0, 1)); err != nil {
		t.Fatal(err)
	}
	file, _ := src.write(t)
	dst := newIndex(t, "kv", false)
	if err := dst.restore(t, file, nil); err != nil {
		t.Fatal(err)
	}
	if n, err := state.New(dst.rows).NextSeq(t.Context()); n != 7 || err != nil {
		t.Errorf("the next number is %d, %v, want 7", n, err)
	}
}

// TestDamage: of a file that is cut or changed nothing is restored.
func TestDamage(t *testing.T) {
	src := newIndex(t, "kv", false)
	if err := src.Put(t.Context(), ipni.Group{Context: testContext(1, "a"), Epoch: 5}, hashes(0, 3)); err != nil {
		t.Fatal(err)
	}
	if err := src.PutMetadata(t.Context(), testContext(1, "a"), []byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := src.rows.Batch(t.Context(), []kv.Op{kv.Put([]byte("Nx"), []byte("y"))}); err != nil {
		t.Fatal(err)
	}
	file, _ := src.write(t)
	dst := newIndex(t, "kv", false)
	empty := dst.content(t)
	check := func(what string, file []byte) {
		t.Helper()
		if err := dst.restore(t, file, nil); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range file {
		check(fmt.Sprintf("cut at %d of %d", n, len(file)), file[:n])
		flipped := bytes.Clone(file)
		flipped[n] ^= 4
		check(fmt.Sprintf("byte %d changed", n), flipped)
	}
	check("with something behind", append(bytes.Clone(file), 0))
	if diff := cmp.Diff(empty, dst.content(t)); diff != "" {
		t.Errorf("a damaged file changed something: %s", diff)
	}
	if err := dst.restore(t, file, nil); err != nil {
		t.Errorf("the whole file: %v", err)
	}
}

// TestNotEmpty: what is there is not mixed up with a backup, unless that is wanted.
func TestNotEmpty(t *testing.T) {
	src := newIndex(t, "kv", false)
	src.fill(t)
	file, _ := src.write(t)
	for name, fill := range map[string]func(index) error{
		"records": func(ix index) error {
			return ix.Put(t.Context(), ipni.Group{Context: testContext(9, "q"), Epoch: 1}, hashes(0, 1))
		},
		"metadata": func(ix index) error { return ix.PutMetadata(t.Context(), testContext(9, "q"), []byte{1}) },
		"rows":     func(ix index) error { return ix.rows.Batch(t.Context(), []kv.Op{kv.Put([]byte("Nx"), nil)}) },
	} {
		dst := newIndex(t, "kv", false)
		if err := fill(dst); err != nil {
			t.Fatal(err)
		}
		before := dst.content(t)
		if err := dst.restore(t, file, nil); !errors.Is(err, backup.ErrNotEmpty) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, dst.content(t)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if err := dst.restore(t, file, &backup.Options{Merge: true}); err != nil {
			t.Errorf("%s: merge: %v", name, err)
		}
	}
	dst := newIndex(t, "kv", false)
	if err := dst.rows.Batch(t.Context(), []kv.Op{kv.Put([]byte("Ncm"), nil), kv.Put([]byte("b"), nil)}); err != nil {
		t.Fatal(err)
	}
	if err := dst.restore(t, file, nil); err != nil {
		t.Errorf("rows of a node that has nothing yet: %v", err)
	}
}

// failing is keys of which some cannot be written.
type failing struct {
	kv.Store
	after atomic.Int64 // batches
}

func failingAfter(batches int64) *failing {
	f := &failing{Store: memkv.New()}
	f.after.Store(batches)
	return f
}

var errFull = errors.New("the disk is full")

func (f *failing) Batch(ctx context.Context, ops []kv.Op) error {
	if f.after.Add(-1) < 0 {
		return errFull
	}
	return f.Store.Batch(ctx, ops)
}

// TestInterrupted: an index that was restored in part has no rows, which would say that it is
// complete, and the rest can be restored.
func TestInterrupted(t *testing.T) {
	src := newIndex(t, "kv", false)
	src.fill(t)
	file, _ := src.write(t)
	values, keys := failingAfter(2), memkv.New()
	s, err := store.Open(t.Context(), kvstore.New(values), keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	dst := index{Store: s, rows: memkv.New()}
	if err := dst.restore(t, file, nil); !errors.Is(err, errFull) {
		t.Fatalf("%v", err)
	}
	for p := range dst.rows.Scan(t.Context(), kv.Range{From: []byte{0}}) {
		t.Errorf("there is a row %q", p.Key)
	}
	values.after.Store(1000)
	if err := dst.restore(t, file, &backup.Options{Merge: true}); err != nil {
		t.Fatal(err)
	}
	if again, _ := dst.write(t); len(again) == 0 {
		t.Error("nothing was restored")
	}
	if diff := cmp.Diff(src.content(t)[:100], dst.content(t)[:100]); diff != "" {
		t.Error(diff)
	}
}

// TestNoPlace: rows that would be lost are not left out silently.
func TestNoPlace(t *testing.T) {
	src := newIndex(t, "kv", false)
	src.fill(t)
	file, _ := src.write(t)
	dst := newIndex(t, "kv", false)
	if _, err := backup.Restore(t.Context(), dst.Store, nil, bytes.NewReader(file), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	var out bytes.Buffer
	if _, err := backup.Write(t.Context(), &out, src.Store, nil, created); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Restore(t.Context(), dst.Store, nil, bytes.NewReader(out.Bytes()), nil); err != nil {
		t.Errorf("a backup without rows: %v", err)
	}
}

// TestWriteFails: whatever stops a backup is told, and leaves no file that looks whole.
func TestWriteFails(t *testing.T) {
	src := newIndex(t, "kv", false)
	src.fill(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if _, err := backup.Write(ctx, &out, src.Store, src.rows, created); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, _, err := backup.Inspect(&out); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("what was written: %v", err)
	}
	r, w := io.Pipe()
	r.CloseWithError(errFull)
	if _, err := backup.Write(t.Context(), w, src.Store, src.rows, created); !errors.Is(err, errFull) {
		t.Errorf("a writer that fails: %v", err)
	}
}

// vector is a small backup of a mode, as docs/formats/indexbackup.md has it.
func vector(t testing.TB, compact bool) []byte {
	ix := newIndex(t, "kv", compact)
	for _, err := range []error{
		ix.Put(t.Context(), ipni.Group{Context: testContext(7, "ctx"), Epoch: 7}, hashes(0, 1)),
		ix.PutMetadata(t.Context(), testContext(7, "ctx"), []byte{0x80, 0x12}),
		ix.rows.Batch(t.Context(), []kv.Op{kv.Put([]byte("Nrow"), []byte("value"))}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	file, _ := ix.write(t)
	return file
}

func TestVectors(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/indexbackup.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, compact := range []bool{false, true} {
		if text := hex.EncodeToString(vector(t, compact)); !strings.Contains(string(page), "    "+text+"\n") {
			t.Errorf("compact=%t: the page lacks\n    %s", compact, text)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(vector(f, false))
	f.Add(vector(f, true))
	f.Add([]byte("hashstream provider index 1\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var items []backup.Item
		for it, err := range backup.Read(bytes.NewReader(file)) {
			if err != nil {
				if !errors.Is(err, digest.ErrMismatch) {
					t.Errorf("%v", err)
				}
				return
			}
			items = append(items, it)
		}
		var again bytes.Buffer
		if err := backup.Encode(t.Context(), &again, slices.Values(items)); err != nil || !bytes.Equal(again.Bytes(), file) {
			t.Errorf("%x is read, and written as %x, %v", file, again.Bytes(), err)
		}
	})
}

// A backup of one index becomes another one, over another kind of store.
func ExampleRestore() {
	ctx := context.Background()
	from, _ := store.Open(ctx, kvstore.New(memkv.New()), memkv.New(), nil)
	to, _ := store.Open(ctx, kvstore.New(memkv.New()), memkv.New(), nil)
	_ = from.Put(ctx, ipni.Group{Context: testContext(1, "a"), Epoch: 1}, hashes(0, 3))

	var file bytes.Buffer
	written, err := backup.Write(ctx, &file, from, memkv.New(), created)
	fmt.Println(written.Records, err)
	restored, err := backup.Restore(ctx, to, memkv.New(), bytes.NewReader(file.Bytes()), nil)
	fmt.Println(restored.Records, err)
	// Output:
	// 3 <nil>
	// 3 <nil>
}

// TestShortMetadata leaves out what earlier stores took and no backup holds.
func TestShortMetadata(t *testing.T) {
	for _, compact := range []bool{false, true} {
		src := newIndex(t, "kv", compact)
		src.fill(t)
		for n := range byte(dhash.Overhead) {
			key := append([]byte("Sm"), bytes.Repeat([]byte{n}, dhash.KeySize)...)
			if err := src.below.Batch(t.Context(), []kv.Op{kv.Put(key, make([]byte, n))}); err != nil {
				t.Fatal(err)
			}
		}
		file, totals := src.write(t)
		if totals.Metadata != 2 {
			t.Errorf("%d metadata, want 2", totals.Metadata)
		}
		if err := newIndex(t, "kv", compact).restore(t, file, nil); err != nil {
			t.Errorf("compact %v: %v", compact, err)
		}
	}
}
