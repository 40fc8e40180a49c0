package backup_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/backup"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/archive"
	"github.com/hashstream/hashstream/kv/memkv"
)

// file returns what looks like a backup of pairs.
func file(t testing.TB, pairs ...kv.Pair) []byte {
	t.Helper()
	keys := memkv.New()
	for _, p := range pairs {
		if err := keys.Batch(t.Context(), []kv.Op{kv.Put(p.Key, p.Value)}); err != nil {
			t.Fatal(err)
		}
	}
	out := bytes.NewBufferString("hashstream provider index 1\n")
	if _, err := archive.Write(t.Context(), out, keys); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func pair(key string, value ...string) kv.Pair {
	return kv.Pair{Key: []byte(key), Value: []byte(strings.Join(value, ""))}
}

func number(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// TestMalformed: what is wrong is seen though the checksum is right.
func TestMalformed(t *testing.T) {
	const zero = "\x00\x00\x00\x00\x00\x00\x00\x00"
	one := zero[:7] + "\x01"
	sealed, compact := pair("A", "s", zero), pair("A", "c", zero)
	group := strings.Repeat("g", 48) + one
	record := string(valuestore.Records(nil).Append(dhash.Key{1}, []byte("v")))
	plain := "\x00\x29" + string(testContext(1, "ctx").ValueKey()) + one + string(hash(1))
	metadata := pair("S"+strings.Repeat("k", 32), strings.Repeat("m", 28))
	for name, pairs := range map[string][]kv.Pair{
		"":                          {sealed, pair("Nx", "y"), pair("Nz"), pair("R"+zero, group, record), pair("R"+one, group, record, record), metadata, pair("Z", zero[:7], "\x02", zero[:7], "\x03", one)},
		" ":                         {compact, pair("R"+zero, plain), pair("Z", zero, one, zero)},
		"no header":                 {pair("Nx", "y"), pair("Z", one, zero, zero)},
		"nothing":                   {},
		"no totals":                 {sealed, pair("Nx", "y")},
		"no totals after metadata":  {sealed, metadata},
		"another mode":              {pair("A", "x", zero), pair("Z", zero, zero, zero)},
		"a long header":             {pair("A", "s", zero, "x"), pair("Z", zero, zero, zero)},
		"a time out of range":       {pair("A", "s\xff", zero[1:]), pair("Z", zero, zero, zero)},
		"two headers":               {sealed, pair("AA", "s", zero), pair("Z", zero, zero, zero)},
		"too few rows":              {sealed, pair("Nx", "y"), pair("Z", one[:7], "\x02", zero, zero)},
		"records that are not told": {sealed, pair("R"+zero, group, record), pair("Z", zero, zero, zero)},
		"metadata not told":         {sealed, metadata, pair("Z", zero, zero, zero)},
		"long totals":               {sealed, pair("Z", zero, zero, zero, zero)},
		"totals of another key":     {sealed, pair("ZZ", zero, zero, zero)},
		"a batch missing":           {sealed, pair("R"+one, group, record), pair("Z", zero, one, zero)},
		"a batch without a number":  {sealed, pair("R", group, record), pair("Z", zero, one, zero)},
		"an empty batch":            {sealed, pair("R"+zero, group), pair("Z", zero, zero, zero)},
		"a short group":             {sealed, pair("R"+zero, group[1:]), pair("Z", zero, zero, zero)},
		"a cut record":              {sealed, pair("R"+zero, group, record[:20]), pair("Z", zero, one, zero)},
		"a large batch":             {sealed, pair("R"+zero, group, strings.Repeat(record, 150_000)), pair("Z", zero, number(150_000), zero)},
		"sealed in compact":         {compact, pair("R"+zero, group, record), pair("Z", zero, one, zero)},
		"plain in sealed":           {sealed, pair("R"+zero, plain), pair("Z", zero, one, zero)},
		"plain without a group":     {compact, pair("R"+zero, "\x00"), pair("Z", zero, one, zero)},
		"plain with a cut group":    {compact, pair("R"+zero, "\x00\x29abc"), pair("Z", zero, one, zero)},
		"plain without multihashes": {compact, pair("R"+zero, plain[:len(plain)-34]), pair("Z", zero, zero, zero)},
		"a cut multihash":           {compact, pair("R"+zero, plain[:len(plain)-1]), pair("Z", zero, one, zero)},
		"another value key":         {compact, pair("R"+zero, strings.Replace(plain, "\x29", "\x05", 1)), pair("Z", zero, one, zero)},
		"short metadata":            {sealed, pair("S"+strings.Repeat("k", 32), "m"), pair("Z", zero, zero, one)},
		"long metadata":             {sealed, pair("S"+strings.Repeat("k", 32), strings.Repeat("m", 1053)), pair("Z", zero, zero, one)},
		"a short metadata key":      {sealed, pair("Sk", strings.Repeat("m", 28)), pair("Z", zero, zero, one)},
		"something unknown":         {sealed, pair("T", "y"), pair("Z", zero, zero, zero)},
		"something behind":          {sealed, pair("Z", zero, zero, zero), pair("a", "b")},
	} {
		_, totals, err := backup.Inspect(bytes.NewReader(file(t, pairs...)))
		if good := strings.TrimSpace(name) == ""; good != (err == nil) || !good && !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%q: %+v, %v", name, totals, err)
		}
	}
}

// TestLive: rows of running nodes are not restored, even if a file has them.
func TestLive(t *testing.T) {
	const zero = "\x00\x00\x00\x00\x00\x00\x00\x00"
	dst := newIndex(t, "kv", false)
	f := file(t, pair("A", "s", zero), pair("Napx", "lease"), pair("Ncmx", "member"), pair("Nx", "row"), pair("Z", zero[:7], "\x03", zero, zero))
	if err := dst.restore(t, f, nil); err != nil {
		t.Fatal(err)
	}
	for p, err := range dst.rows.Scan(t.Context(), kv.Range{From: []byte{0}}) {
		if string(p.Key) != "Nx" || err != nil {
			t.Errorf("there is a row %q, %v", p.Key, err)
		}
	}
}

// TestLarge: many batches of many groups, restored with little memory.
func TestLarge(t *testing.T) {
	for _, compact := range []bool{false, true} {
		src := newIndex(t, "kv", compact)
		for g := range 4 {
			if err := src.Put(t.Context(), ipni.Group{Context: testContext(byte(g), "x"), Epoch: 1}, hashes(0, 10_000)); err != nil {
				t.Fatal(err)
			}
		}
		file, _ := src.write(t)
		batches := 0
		for it, err := range backup.Read(bytes.NewReader(file)) {
			if err != nil {
				t.Fatal(err)
			}
			if it.Sealed != nil || it.Plain != nil {
				batches++
			}
		}
		if batches < 8 || batches > 4*8 {
			t.Errorf("compact=%t: %d batches for %d bytes", compact, batches, len(file))
		}
		writes := map[int]int64{}
		for _, memory := range []int{1, 0} {
			values := failingAfter(1 << 20)
			s, err := store.Open(t.Context(), kvstore.New(values), memkv.New(), &store.Options{Compact: compact})
			if err != nil {
				t.Fatal(err)
			}
			dst := index{Store: s, rows: memkv.New()}
			if err := dst.restore(t, file, &backup.Options{Memory: memory}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(src.content(t), dst.content(t)); diff != "" {
				t.Error(diff)
			}
			writes[memory] = 1<<20 - values.after.Load()
		}
		if !compact && writes[1] <= writes[0] { // compact records are so short that they fit anyway
			t.Errorf("compact=%t: %d writes with little memory, %d with much", compact, writes[1], writes[0])
		}
	}
}

// FuzzItem reads items whose checksum is right.
func FuzzItem(f *testing.F) {
	f.Add(false, []byte("R\x00\x00\x00\x00\x00\x00\x00\x00"), []byte("group and records"))
	f.Add(true, []byte("R\x00\x00\x00\x00\x00\x00\x00\x00"), append([]byte{0, 41}, testContext(1, "ctx").ValueKey()...))
	f.Fuzz(func(t *testing.T, compact bool, key, value []byte) {
		if len(key) == 0 || len(key) > kv.MaxKey {
			return
		}
		mode := "s"
		if compact {
			mode = "c"
		}
		const zero = "\x00\x00\x00\x00\x00\x00\x00\x00"
		for it, err := range backup.Read(bytes.NewReader(file(t, pair("A", mode, zero), kv.Pair{Key: key, Value: value}))) {
			if err != nil || it.Header != nil {
				continue
			}
			var again bytes.Buffer
			err := backup.Encode(t.Context(), &again, slices.Values([]backup.Item{it}))
			if err != nil || !bytes.Contains(again.Bytes(), value) {
				t.Errorf("%x %x is read, and written as %x, %v", key, value, again.Bytes(), err)
			}
		}
	})
}
