package indexer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/mirror"
)

// TestMirrorOnly reads mirrors that storetheindex wrote without their publishers: what is there is read, and
// what is not says what to do.
func TestMirrorOnly(t *testing.T) {
	const files = "../../ipni/mirror/testdata/storetheindex/files/flat"
	provider, err := peer.Decode("12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu")
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(files + "/*")
	if err != nil || len(names) < 4 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	open := func(t *testing.T, keep func(name string) bool) ipni.Chain {
		store := memblob.New()
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if name = filepath.Base(name); keep(name) {
				if err := store.Put(t.Context(), name, strings.NewReader(string(b))); err != nil {
					t.Fatal(err)
				}
			}
		}
		m, err := mirror.Open(t.Context(), store, nil)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := (&chains{mirror: m, mode: "only"}).open(t.Context(), peer.AddrInfo{ID: provider})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeChain(chain) })
		return chain
	}

	whole := open(t, func(string) bool { return true })
	head, err := whole.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []cid.Cid
	for c := head; c.Defined(); {
		b, err := whole.Block(t.Context(), c, ipni.Advertisement)
		if err != nil {
			t.Fatal(err)
		}
		a, err := ad.Decode(c, b)
		if err != nil {
			t.Fatal(err)
		}
		all, c = append(all, c), a.Previous
	}
	if len(all) != 3 {
		t.Fatalf("%d advertisements", len(all))
	}

	cut := open(t, func(name string) bool { return !strings.HasPrefix(name, all[1].String()) })
	if _, err := cut.Block(t.Context(), all[0], ipni.Advertisement); err != nil {
		t.Errorf("what is there: %v", err)
	}
	_, err = cut.Block(t.Context(), all[1], ipni.Advertisement)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `mirror.read = "first"`) || !strings.Contains(err.Error(), all[1].String()) {
		t.Errorf("what is not there: %v", err)
	}
	headless := open(t, func(name string) bool { return !strings.HasSuffix(name, ".head") })
	if _, err = headless.Head(t.Context()); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `mirror.read = "first"`) {
		t.Errorf("no head: %v, want one that is not an empty chain", err)
	}
}
