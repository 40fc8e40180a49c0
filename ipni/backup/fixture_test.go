package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/backup"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

var created = time.Unix(1_700_000_000, 0).UTC()

// index is what is backed up.
type index struct {
	*store.Store
	rows  kv.Store
	below kv.Store // of the store
}

// kinds are the value stores that backups are carried between.
var kinds = []string{"kv", "segments"}

func newIndex(t testing.TB, kind string, compact bool) index {
	t.Helper()
	var values valuestore.Store = kvstore.New(memkv.New())
	if kind == "segments" {
		o := &segstore.Options{}
		if compact {
			o.KeyBytes = 8
		}
		s, err := segstore.Open(t.TempDir(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		values = s
	}
	below := memkv.New()
	s, err := store.Open(t.Context(), values, below, &store.Options{Compact: compact})
	if err != nil {
		t.Fatal(err)
	}
	return index{s, memkv.New(), below}
}

func testContext(provider byte, id string) ipni.Context {
	return ipni.Context{Provider: peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, bytes.Repeat([]byte{provider}, 32)...)), ID: id}
}

func hash(n int) multihash.Multihash {
	mh, err := multihash.Sum(fmt.Appendf(nil, "content %d", n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh
}

func hashes(from, to int) (all ipni.Multihashes) {
	for n := from; n < to; n++ {
		all = append(all, hash(n)...)
	}
	return all
}

// fill puts groups, metadata and rows, and removes some.
func (ix index) fill(t testing.TB) {
	t.Helper()
	a, b, gone := testContext(1, "a"), testContext(2, ""), testContext(1, "gone")
	for _, err := range []error{
		ix.Put(t.Context(), ipni.Group{Context: a, Epoch: 5 << 32}, hashes(0, 2000)),
		ix.Put(t.Context(), ipni.Group{Context: a, Epoch: 6 << 32}, hashes(1000, 3000)),
		ix.Put(t.Context(), ipni.Group{Context: b, Epoch: 7}, hashes(0, 50)),
		ix.Put(t.Context(), ipni.Group{Context: gone, Epoch: 8}, hashes(0, 50)),
		ix.PutMetadata(t.Context(), a, []byte{1}),
		ix.PutMetadata(t.Context(), b, []byte{2, 2}),
		ix.PutMetadata(t.Context(), gone, []byte{3}),
		ix.Remove(t.Context(), gone, 9),
		ix.PutMetadata(t.Context(), gone, nil),
		ix.rows.Batch(t.Context(), []kv.Op{
			kv.Put([]byte("Nic"), []byte{0, 0, 0, 0, 0, 0, 0, 4}), kv.Put([]byte("Np1"), []byte("provider")), kv.Put([]byte("Nu"), nil),
			kv.Put([]byte("Nap"), []byte("lease")), kv.Put([]byte("Ncm"), []byte("member")), kv.Put([]byte("Na"), []byte("x")),
			kv.Put([]byte("M"), []byte("of others")), kv.Put([]byte("O"), []byte("of others")),
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// foreign puts a record without a group, as others write to sealed stores.
func (ix index) foreign(t testing.TB) {
	t.Helper()
	if err := ix.PutSealed(t.Context(), ipni.SealedGroup{}, valuestore.Records(nil).Append(dhash.SecondHash(hash(0)), []byte("foreign"))); err != nil {
		t.Fatal(err)
	}
}

// content is everything that an index tells, as text.
func (ix index) content(t testing.TB) (all []string) {
	t.Helper()
	for n := range 3001 {
		for sealed, err := range ix.ValueKeys(t.Context(), dhash.SecondHash(hash(n))) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%d: %x", n, sealed))
		}
	}
	slices.Sort(all) // the order of modes differs
	for _, c := range []ipni.Context{testContext(1, "a"), testContext(2, ""), testContext(1, "gone")} {
		m, err := ix.Metadata(t.Context(), c)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("metadata %q: %x", c.ID, m))
	}
	for p, err := range ix.rows.Scan(t.Context(), kv.Range{From: []byte{0}}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s: %x", p.Key, p.Value))
	}
	return all
}

func (ix index) write(t testing.TB) ([]byte, backup.Totals) {
	t.Helper()
	var out bytes.Buffer
	totals, err := backup.Write(t.Context(), &out, ix.Store, ix.rows, created)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), totals
}

func (ix index) restore(t testing.TB, file []byte, o *backup.Options) error {
	t.Helper()
	_, err := backup.Restore(t.Context(), ix.Store, ix.rows, bytes.NewReader(file), o)
	return err
}
