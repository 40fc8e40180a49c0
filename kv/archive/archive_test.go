package archive_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/archive"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

func fill(t testing.TB, n int) *memkv.Store {
	t.Helper()
	s := memkv.New()
	for i := range n {
		key := fmt.Appendf(nil, "%c-%d", 'a'+i%7, i)
		if err := s.Batch(context.Background(), []kv.Op{kv.Put(key, bytes.Repeat([]byte{byte(i)}, i*37%5000))}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func all(t testing.TB, s kv.Reader) map[string]string {
	t.Helper()
	m := map[string]string{}
	for p, err := range s.Scan(context.Background(), kv.Range{From: []byte{0}}) {
		if err != nil {
			t.Fatal(err)
		}
		m[string(p.Key)] = string(p.Value)
	}
	return m
}

func write(t testing.TB, s kv.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := archive.Write(context.Background(), &b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBetweenBackends moves keys from memory to a disk.
func TestBetweenBackends(t *testing.T) {
	for _, n := range []int{0, 1, 2000} {
		from := fill(t, n)
		to, err := pebblekv.Open(t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		got, err := archive.Restore(t.Context(), to, bytes.NewReader(write(t, from)))
		if err != nil || got != int64(n) {
			t.Fatalf("restored %d of %d keys: %v", got, n, err)
		}
		if diff := cmp.Diff(all(t, from), all(t, to)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestDamage cuts and flips every byte: nothing is restored.
func TestDamage(t *testing.T) {
	whole := write(t, fill(t, 5))
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x10
		for _, b := range [][]byte{whole[:i], flipped} {
			to := memkv.New()
			if _, err := archive.Restore(t.Context(), to, bytes.NewReader(b)); !errors.Is(err, digest.ErrMismatch) {
				t.Fatalf("damage at %d gives %v", i, err)
			}
			if left := all(t, to); len(left) > 0 {
				t.Fatalf("damage at %d restores %d keys", i, len(left))
			}
		}
	}
	if _, err := archive.Restore(t.Context(), memkv.New(), bytes.NewReader(append(whole, 0))); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a byte too many gives %v", err)
	}
}

func TestDocumentedVector(t *testing.T) {
	text, err := os.ReadFile("../../docs/formats/archive.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tail, _ := strings.Cut(string(text), "\n## Vector")
	var documented string
	for line := range strings.Lines(tail) {
		if strings.HasPrefix(line, "    ") {
			documented += strings.TrimSpace(line)
		}
	}
	s := memkv.New()
	if err := s.Batch(t.Context(), []kv.Op{kv.Put([]byte("a"), nil), kv.Put([]byte("key"), []byte("value"))}); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(write(t, s)); got != documented {
		t.Errorf("the vector is\n%s, documented as\n%s", got, documented)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(write(f, fill(f, 0)))
	f.Add(write(f, fill(f, 3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		to := memkv.New()
		if _, err := archive.Restore(t.Context(), to, bytes.NewReader(b)); err != nil {
			return
		}
		if again := write(t, to); !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x", b, again)
		}
	})
}

func Example() {
	from, to := memkv.New(), memkv.New()
	ctx := context.Background()
	from.Batch(ctx, []kv.Op{kv.Put([]byte("k"), []byte("v"))})

	var file bytes.Buffer
	archive.Write(ctx, &file, from)
	n, err := archive.Restore(ctx, to, bytes.NewReader(file.Bytes()))
	fmt.Println(n, err)
	// Output: 1 <nil>
}
