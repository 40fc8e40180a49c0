package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/local"
	"github.com/hashstream/hashstream/ipni/cluster/rebalance"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/kv/memkv"
)

// A node over HTTP is compared with this one in package storehttp.
var _ interface {
	cluster.Node
	rebalance.Importer
} = (*local.Node)(nil)

func open(t *testing.T, compact bool) (*local.Node, *store.Store) {
	t.Helper()
	s, err := store.Open(t.Context(), kvstore.New(memkv.New()), memkv.New(), &store.Options{Compact: compact})
	if err != nil {
		t.Fatal(err)
	}
	return local.New(s), s
}

// TestOrder wants values in the order of their bytes in both modes: another replica
// continues an answer behind the last of them.
func TestOrder(t *testing.T) {
	mh, err := multihash.Sum([]byte("hot"), multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, compact := range []bool{false, true} {
		n, s := open(t, compact)
		for i := range 100 {
			g := ipni.Group{Context: ipni.Context{Provider: peer.ID("\x00\x24\x08\x01\x12\x20" + fmt.Sprintf("%032d", 1)), ID: fmt.Sprint(i)}}
			if err := s.Put(t.Context(), g, ipni.Multihashes(mh)); err != nil {
				t.Fatal(err)
			}
		}
		var last []byte
		count := 0
		for v, err := range n.ValueKeys(t.Context(), dhash.SecondHash(mh)) {
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Compare(last, v) >= 0 {
				t.Fatalf("compact %v: %x after %x", compact, v, last)
			}
			last = append(last[:0], v...)
			count++
		}
		for range n.ValueKeys(t.Context(), dhash.SecondHash(mh)) {
			break
		}
		if count != 100 {
			t.Errorf("compact %v: %d values", compact, count)
		}
	}
}

func TestImportFails(t *testing.T) {
	good := cluster.Record{Group: ipni.SealedGroup{Epoch: 1}, Key: dhash.Key{1}, Value: []byte("x")}
	n, _ := open(t, true)
	for _, err := range []error{
		n.ImportSealed(t.Context(), []cluster.Record{good}, nil), n.ImportSealed(t.Context(), nil, []cluster.Record{good}),
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a compact store: %v", err)
		}
	}
	n, _ = open(t, false)
	large := cluster.Record{Group: ipni.SealedGroup{Epoch: 2}, Key: dhash.Key{1}, Value: make([]byte, valuestore.MaxValue+1)}
	if err := n.ImportSealed(t.Context(), []cluster.Record{good, large}, nil); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a large value: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.ImportSealed(ctx, nil, []cluster.Record{good}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func Example() {
	ctx := context.Background()
	s, err := store.Open(ctx, kvstore.New(memkv.New()), memkv.New(), nil)
	if err != nil {
		panic(err)
	}
	node := local.New(s)
	a, b := ipni.SealedGroup{Epoch: 1}, ipni.SealedGroup{Epoch: 2}
	err = node.ImportSealed(ctx, []cluster.Record{
		{Group: b, Key: dhash.Key{7}, Value: []byte("second")},
		{Group: a, Key: dhash.Key{7}, Value: []byte("second")},
		{Group: b, Key: dhash.Key{7}, Value: []byte("first")},
		{Group: a, Key: dhash.Key{8}, Value: []byte("elsewhere")},
	}, nil)
	if err != nil {
		panic(err)
	}
	for x, err := range node.ExportSealed(ctx, cluster.PartitionRange(7)) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s of epoch %d\n", x.Value, x.Group.Epoch)
	}
	// Output:
	// first of epoch 2
	// second of epoch 1
	// second of epoch 2
}
