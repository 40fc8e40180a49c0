package ipnitest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipni/go-libipni/ingest/schema"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// TestChain reads a chain by go-libipni.
func TestChain(t *testing.T) {
	key, id := ipnitest.Key(1)
	c := ipnitest.NewChain(key).Grow(t, 3)
	c.Put(cid.MustParse("bafkqaaa"), nil)
	c.Grow(t, 2)
	want := c.Entries(t, 2, ipnitest.Hash(100), ipnitest.Hash(101), ipnitest.Hash(102))
	if got := c.Add(t, ad.Ad{Entries: want, ContextID: []byte("last")}); got != c.Tip() {
		t.Errorf("%s was added, the newest is %s", got, c.Tip())
	}
	system, _ := ipnitest.LinkSystem(c.Blocks())
	seen := map[string]bool{}
	ads := 0
	for at := c.Tip(); at.Defined(); ads++ {
		n, err := system.Load(ipld.LinkContext{Ctx: t.Context()}, cidlink.Link{Cid: at}, schema.AdvertisementPrototype)
		if err != nil {
			t.Fatal(err)
		}
		a, err := schema.UnwrapAdvertisement(n)
		if err != nil {
			t.Fatal(err)
		}
		if signer, err := a.VerifySignature(); err != nil || signer != id || a.Provider != id.String() {
			t.Errorf("signed by %s for %s, %v; want %s", signer, a.Provider, err, id)
		}
		for next := a.Entries; next != nil; {
			n, err := system.Load(ipld.LinkContext{Ctx: t.Context()}, next, schema.EntryChunkPrototype)
			if err != nil {
				t.Fatal(err)
			}
			chunk, err := schema.UnwrapEntryChunk(n)
			if err != nil {
				t.Fatal(err)
			}
			for _, mh := range chunk.Entries {
				seen[string(mh)] = true
			}
			next = chunk.Next
		}
		at = a.PreviousCid()
	}
	if ads != 6 || len(seen) != 5*2+3 {
		t.Errorf("%d advertisements of %d multihashes", ads, len(seen))
	}
	var all []multihash.Multihash
	for mh, err := range ipnitest.Hashes(100, 103).All() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, mh)
	}
	if len(all) != 3 || slices.ContainsFunc(all, func(mh multihash.Multihash) bool { return !seen[string(mh)] }) {
		t.Errorf("%v were not all advertised", all)
	}
}

// TestKeys: keys are the same in every run, and differ.
func TestKeys(t *testing.T) {
	ids := map[string]bool{}
	for n := range byte(10) {
		key, id := ipnitest.Key(n)
		again, same := ipnitest.Key(n)
		if !key.Equals(again) || id != same || !id.MatchesPrivateKey(key) {
			t.Errorf("key %d: %s, then %s", n, id, same)
		}
		ids[id.String()] = true
	}
	if len(ids) != 10 {
		t.Errorf("%d ids of 10 keys", len(ids))
	}
	// Of the vectors that go-libipni agrees with.
	if got := ipnitest.ID(7).String(); got != "12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt" {
		t.Errorf("id 7 is %s", got)
	}
}

func TestFaults(t *testing.T) {
	key, _ := ipnitest.Key(1)
	c := ipnitest.NewChain(key)
	if _, err := c.Head(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("head of an empty chain: %v", err)
	}
	c.Grow(t, 1)
	head, err := c.Head(t.Context())
	if err != nil || head != c.Tip() {
		t.Errorf("head %s, %v", head, err)
	}
	block, err := c.Block(t.Context(), head, ipni.Advertisement)
	if want := c.Blocks()[head]; err != nil || string(block) != string(want) {
		t.Errorf("%q, %v; want %q", block, err, want)
	}
	boom := errors.New("boom")
	c.Fail(boom)
	if _, err := c.Head(t.Context()); !errors.Is(err, boom) {
		t.Errorf("head: %v", err)
	}
	if _, err := c.Block(t.Context(), head, ipni.EntryChunk); !errors.Is(err, boom) {
		t.Errorf("block: %v", err)
	}
	c.Fail(nil)
	before := c.Blocks()
	c.Lose(head)
	if _, err := c.Block(t.Context(), head, ipni.Advertisement); !errors.Is(err, fs.ErrNotExist) || len(before) != 2 {
		t.Errorf("lost: %v; of %d", err, len(before))
	}
	want := []ipnitest.Asked{{head, ipni.Advertisement}, {head, ipni.EntryChunk}, {head, ipni.Advertisement}}
	if got := c.Asked(); !slices.Equal(got, want) {
		t.Errorf("asked %v, want %v", got, want)
	}
}

func Example() {
	key, id := ipnitest.Key(1)
	c := ipnitest.NewChain(key)
	c.Put(cid.MustParse("bafkqaaa"), nil)
	fmt.Println(id, len(slices.Collect(maps.Keys(c.Blocks()))))
	// Output: 12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5 1
}
