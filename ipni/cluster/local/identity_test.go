package local_test

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster/local"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

func TestIdentity(t *testing.T) {
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	values, rows := memkv.New(), memkv.New()
	open := func() *local.Node {
		t.Helper()
		s, err := store.Open(ctx, kvstore.New(values), rows, nil)
		check(err)
		return local.New(s)
	}
	first, err := open().Identity(ctx)
	check(err)
	if again, err := open().Identity(ctx); err != nil || again != first || len(first) != 32 {
		t.Errorf("%q, then %q, %v", first, again, err)
	}
	if of, err := open().Cluster(ctx); err != nil || of != "" {
		t.Errorf("a new store is of %q, %v", of, err)
	}
	id := local.NewID()
	check(open().SetCluster(ctx, id))
	if of, err := open().Cluster(ctx); err != nil || of != id {
		t.Errorf("of %q, want %q, %v", of, id, err)
	}
	if err := open().SetCluster(ctx, "abc"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a malformed name: %v", err)
	}
	s := open()
	empty := func(want bool) {
		t.Helper()
		if got, err := s.Empty(ctx); err != nil || got != want {
			t.Errorf("empty: %t, %v", got, err)
		}
	}
	empty(true)
	value, key := bytes.Repeat([]byte("v"), 102), dhash.MetadataKey{1}
	g := ipni.SealedGroup{Epoch: 1}
	records := valuestore.Records(nil).Append(dhash.Key{1}, value)
	check(s.PutSealedMetadata(ctx, key, value))
	empty(false)
	check(s.PutSealedMetadata(ctx, key, nil))
	check(s.PutSealed(ctx, g, records))
	empty(false)
	check(s.DeleteSealed(ctx, g, records))
	empty(true)
	values, rows = memkv.New(), memkv.New()
	if other, err := open().Identity(ctx); err != nil || other == first {
		t.Errorf("another store is %q too, %v", other, err)
	}
	check(rows.Batch(ctx, []kv.Op{kv.Put([]byte("Si"), []byte("short")), kv.Put([]byte("Sc"), []byte("short"))}))
	if _, err := open().Identity(ctx); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a malformed row: %v", err)
	}
	if _, err := open().Cluster(ctx); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a malformed row: %v", err)
	}
}
