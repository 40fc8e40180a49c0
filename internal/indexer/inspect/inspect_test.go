package inspect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/internal/indexer/inspect"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

func newIndex(t testing.TB) inspect.Index {
	t.Helper()
	rows := memkv.New()
	s, err := store.Open(t.Context(), kvstore.New(memkv.New()), memkv.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.New(rows)
	return inspect.Index{State: rows, Store: s, Records: s, Registry: reg, Providers: registry.NewView(reg, nil)}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]bool{
		`{"op":"verify","peer":"x"}`: true, `{"op":"backup"}`: true, `{"op":"coverage"}`: true,
		`{"op":"status"}`: false, `{"op":"sync","resync":true}`: false, `{}`: false, ``: false, `{"op":1}`: false,
	} {
		if _, ok := inspect.Parse([]byte(text)); ok != want {
			t.Errorf("%s: %t", text, ok)
		}
	}
}

func TestRefuse(t *testing.T) {
	ix := newIndex(t)
	bare := ix
	bare.Store = nil
	part := ix // of what several nodes share
	part.Records = struct{ inspect.Records }{ix.Records}
	for _, x := range []struct {
		ix   inspect.Index
		r    inspect.Request
		want error
	}{
		{ix, inspect.Request{Op: "status"}, fs.ErrInvalid},
		{ix, inspect.Request{Op: inspect.OpVerify, Peer: "nobody"}, fs.ErrInvalid},
		{ix, inspect.Request{Op: inspect.OpVerify, Peer: "12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt"}, fs.ErrNotExist},
		{ix, inspect.Request{Op: inspect.OpCoverage, Against: "http://127.0.0.1:1", Multihashes: [][]byte{{1}}}, fs.ErrInvalid},
		{ix, inspect.Request{Op: inspect.OpCoverage, Against: "ftp://x"}, fs.ErrInvalid},
		{bare, inspect.Request{Op: inspect.OpBackup}, errors.ErrUnsupported},
		{part, inspect.Request{Op: inspect.OpBackup}, errors.ErrUnsupported},
	} {
		var out bytes.Buffer
		if err := x.ix.Do(t.Context(), x.r, &out); !errors.Is(err, x.want) || out.Len() > 0 {
			t.Errorf("%+v: %v, %q", x.r, err, &out)
		}
	}
	for name, ix := range map[string]inspect.Index{"without a store": bare, "into a part": part} {
		if _, err := ix.Restore(t.Context(), strings.NewReader(""), false); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("restore %s: %v", name, err)
		}
	}
}

// chain is a chain of one advertisement.
type chain map[cid.Cid][]byte

func (chain) Head(context.Context) (cid.Cid, error) { return cid.Undef, fs.ErrNotExist }

func (c chain) Block(_ context.Context, id cid.Cid, _ ipni.Kind) ([]byte, error) { return c[id], nil }

// TestVerifyAll: a publisher that cannot be reached does not keep the others from being checked,
// by a store and by lookups alone.
func TestVerifyAll(t *testing.T) {
	ix := newIndex(t)
	blocks, bad := chain{}, peer.ID("")
	rows := state.New(ix.State)
	for n := range byte(3) {
		key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(bytes.Repeat([]byte{n}, 64)))
		if err != nil {
			t.Fatal(err)
		}
		id, err := peer.IDFromPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		mh, err := multihash.Sum([]byte{n}, multihash.SHA2_256, -1)
		if err != nil {
			t.Fatal(err)
		}
		entries, block, err := ad.EncodeChunk(ipni.Multihashes(mh), cid.Undef)
		if err != nil {
			t.Fatal(err)
		}
		blocks[entries] = block
		head, block, err := ad.New(ad.Ad{Provider: id, ContextID: []byte("c"), Metadata: []byte{0x80, 0x12}, Entries: entries}, key)
		if err != nil {
			t.Fatal(err)
		}
		blocks[head] = block
		err = rows.Batch(t.Context(), []kv.Op{
			state.PutPublisher(&state.Publisher{ID: id, Head: head}),
			state.PutAd(head, state.Ad{Status: state.Indexed, Order: 5, Epoch: 5, Count: 1}),
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 { // only its record is there
			if err := ix.Records.Put(t.Context(), ipni.Group{Context: ipni.Context{Provider: id, ID: "c"}, Epoch: 5}, ipni.Multihashes(mh)); err != nil {
				t.Fatal(err)
			}
		}
		if n == 1 {
			bad = id
		}
	}
	ix.Open = func(_ context.Context, p peer.AddrInfo) (ipni.Chain, error) {
		if p.ID == bad {
			return nil, errors.New("nobody answers")
		}
		return blocks, nil
	}
	cluster := ix
	cluster.Store = nil
	for name, ix := range map[string]inspect.Index{"a store": ix, "lookups": cluster} {
		var out bytes.Buffer
		if err := ix.Do(t.Context(), inspect.Request{Op: inspect.OpVerify}, &out); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for d := json.NewDecoder(&out); d.More(); {
			var v inspect.Verified
			if err := d.Decode(&v); err != nil {
				t.Fatal(err)
			}
			switch {
			case v.Finding != nil:
				got["findings"]++
			case v.Report.Ended != "":
				got["ended"]++
			case v.Report.Checked == 1:
				got[fmt.Sprint("missing ", v.Report.Missing)]++
			}
		}
		if len(got) != 4 || got["findings"] != 1 || got["ended"] != 1 || got["missing 0"] != 1 || got["missing 1"] != 1 {
			t.Errorf("%s: %v", name, got)
		}
	}
}
