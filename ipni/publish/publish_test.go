package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/ingest/schema"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/publish"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, db kv.Store, blobs blob.Store, o *publish.Options) *publish.Publisher {
	t.Helper()
	key, _ := ipnitest.Key(1)
	p, err := publish.Open(t.Context(), db, blobs, key, o)
	must(t, err)
	return p
}

// set is multihashes.
type set map[string]bool

func (s set) all() iter.Seq2[multihash.Multihash, error] {
	return func(yield func(multihash.Multihash, error) bool) {
		for mh := range s { // in any order
			if !yield(multihash.Multihash(mh), nil) {
				return
			}
		}
	}
}

func mh(t testing.TB, n int) multihash.Multihash {
	t.Helper()
	m, err := multihash.Sum(fmt.Append(nil, n), multihash.SHA2_256, -1)
	must(t, err)
	return m
}

// numbers is the set of the multihashes of numbers from a up to b.
func numbers(t testing.TB, a, b int) set {
	s := set{}
	for n := a; n < b; n++ {
		s[string(mh(t, n))] = true
	}
	return s
}

// advertised is what an indexer makes of a chain: contexts and their metadata.
type advertised struct {
	sets     map[string]set
	metadata map[string]string
	addrs    []string
	ads      []cid.Cid // oldest first
}

// chunkSizes are the multihashes in the chunks of an advertisement.
type chain interface {
	Head(context.Context) (cid.Cid, error)
	Block(context.Context, cid.Cid, ipni.Kind) ([]byte, error)
}

// replay reads a chain as go-libipni does, and does what it says. Entries of what is removed
// later need not be there, for indexers do not ask for them.
func replay(t testing.TB, c chain) advertised {
	t.Helper()
	got := advertised{sets: map[string]set{}, metadata: map[string]string{}}
	at, err := c.Head(t.Context())
	if errors.Is(err, fs.ErrNotExist) {
		return got
	}
	must(t, err)
	var ads []schema.Advertisement
	removed := map[string]bool{}
	skip := map[int]bool{}
	for at.Defined() {
		b, err := c.Block(t.Context(), at, ipni.Advertisement)
		must(t, err)
		a, err := schema.BytesToAdvertisement(at, b)
		must(t, err)
		signer, err := a.VerifySignature()
		must(t, err)
		if signer.String() != a.Provider {
			t.Errorf("%s was signed by %s", at, signer)
		}
		must(t, a.Validate())
		skip[len(ads)] = removed[string(a.ContextID)]
		if a.IsRm {
			removed[string(a.ContextID)] = true
		}
		ads, got.ads = append(ads, a), append(got.ads, at)
		at = a.PreviousCid()
	}
	slices.Reverse(got.ads)
	for i, a := range slices.Backward(ads) {
		got.addrs = a.Addresses
		id := string(a.ContextID)
		switch {
		case a.IsRm:
			delete(got.sets, id)
			delete(got.metadata, id)
		case skip[i] || len(a.Metadata) == 0:
		default:
			got.metadata[id] = string(a.Metadata)
			if got.sets[id] == nil {
				got.sets[id] = set{}
			}
			maps.Copy(got.sets[id], readEntries(t, c, a))
		}
	}
	return got
}

func readEntries(t testing.TB, c chain, a schema.Advertisement) set {
	t.Helper()
	s := set{}
	for next := a.Entries; next != nil && next != schema.NoEntries; {
		at, err := cid.Decode(next.String())
		must(t, err)
		b, err := c.Block(t.Context(), at, ipni.EntryChunk)
		must(t, err)
		chunk, err := schema.BytesToEntryChunk(at, b)
		must(t, err)
		for _, m := range chunk.Entries {
			if s[string(m)] {
				t.Errorf("%x comes twice", []byte(m))
			}
			s[string(m)] = true
		}
		next = chunk.Next
	}
	return s
}

func put(t testing.TB, p *publish.Publisher, id string, s set, grows bool) {
	t.Helper()
	grew, err := p.Put(t.Context(), []byte(id), s.all(), nil)
	must(t, err)
	if grew != grows {
		t.Errorf("put %q: the chain grew: %v", id, grew)
	}
}

func TestPut(t *testing.T) {
	db, blobs := memkv.New(), memblob.New()
	addr := multiaddr.StringCast("/dns4/example.com/tcp/443/https")
	p := open(t, db, blobs, &publish.Options{Chunk: 10, Addrs: []multiaddr.Multiaddr{addr}})
	if _, err := p.Head(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("head of no chain: %v", err)
	}
	put(t, p, "a", numbers(t, 0, 35), true)
	put(t, p, "b", numbers(t, 30, 40), true)
	put(t, p, "a", numbers(t, 0, 35), false)
	put(t, p, "none", set{}, false)
	p = open(t, db, blobs, &publish.Options{Chunk: 7, Addrs: []multiaddr.Multiaddr{addr}}) // another size of chunks is no other set
	put(t, p, "a", numbers(t, 0, 35), false)
	got := replay(t, p)
	want := map[string]set{"a": numbers(t, 0, 35), "b": numbers(t, 30, 40)}
	if diff := cmp.Diff(want, got.sets); diff != "" {
		t.Error(diff)
	}
	gateway, err := ad.Metadata(ad.Protocol{Code: ad.GatewayHTTP})
	must(t, err)
	if got.metadata["a"] != string(gateway) || !slices.Equal(got.addrs, []string{addr.String()}) {
		t.Errorf("metadata %x, addresses %v", got.metadata["a"], got.addrs)
	}
	if len(got.ads) != 2 {
		t.Errorf("%d advertisements", len(got.ads))
	}
	n := 0
	for a, err := range p.Contexts(t.Context()) {
		must(t, err)
		if a.Ad != got.ads[n] || int(a.Count) != len(want[string(a.ContextID)]) || string(a.Metadata) != string(gateway) {
			t.Errorf("context %+v", a)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d contexts", n)
	}
	if n := len(keys(t, blobs)); n != 2+4+1 {
		t.Errorf("%d blocks are left of 2 advertisements, 4 chunks and 1", n)
	}
	// A set that shrank, one that grew, and one that is gone.
	put(t, p, "a", numbers(t, 5, 35), true)
	put(t, p, "b", numbers(t, 30, 50), true)
	want = map[string]set{"a": numbers(t, 5, 35), "b": numbers(t, 30, 50)}
	if diff := cmp.Diff(want, replay(t, p).sets); diff != "" {
		t.Error(diff)
	}
	put(t, p, "b", set{}, true)
	delete(want, "b")
	if diff := cmp.Diff(want, replay(t, p).sets); diff != "" {
		t.Error(diff)
	}
}

func keys(t testing.TB, s blob.Lister) (all []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "") {
		must(t, err)
		all = append(all, info.Key)
	}
	return all
}

func TestRemoveAndAddAgain(t *testing.T) {
	blobs := memblob.New()
	now := time.Now().Add(time.Hour)
	p := open(t, memkv.New(), blobs, &publish.Options{Chunk: 10, Now: func() time.Time { return now }})
	put(t, p, "a", numbers(t, 0, 25), true)
	put(t, p, "b", numbers(t, 0, 5), true)
	remove := func(id string, want bool) {
		t.Helper()
		if removed, err := p.Remove(t.Context(), []byte(id)); err != nil || removed != want {
			t.Errorf("remove %q: %v, %v", id, removed, err)
		}
	}
	sweep := func(want int) {
		t.Helper()
		if n, err := p.Sweep(t.Context()); err != nil || n != want {
			t.Errorf("sweep: %d, %v, want %d", n, err, want)
		}
	}
	remove("a", true)
	remove("a", false)
	if diff := cmp.Diff(map[string]set{"b": numbers(t, 0, 5)}, replay(t, p).sets); diff != "" {
		t.Error(diff)
	}
	now = now.Add(time.Hour)
	sweep(0) // an indexer may still read the entries
	now = now.Add(30 * time.Hour)
	sweep(3)
	sweep(0)
	if diff := cmp.Diff(map[string]set{"b": numbers(t, 0, 5)}, replay(t, p).sets); diff != "" {
		t.Error(diff)
	}
	put(t, p, "a", numbers(t, 0, 25), true)
	remove("a", true)
	put(t, p, "a", numbers(t, 0, 25), true)
	now = now.Add(30 * time.Hour)
	if _, err := p.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]set{"a": numbers(t, 0, 25), "b": numbers(t, 0, 5)}, replay(t, p).sets); diff != "" {
		t.Error(diff)
	}
}

// TestSharedChunk has two contexts with the same chunk, of which one is removed.
func TestSharedChunk(t *testing.T) {
	now := time.Now().Add(time.Hour)
	p := open(t, memkv.New(), memblob.New(), &publish.Options{Now: func() time.Time { return now }})
	one := numbers(t, 1, 2)
	put(t, p, "a", one, true)
	put(t, p, "b", one, true)
	_, err := p.Remove(t.Context(), []byte("a"))
	must(t, err)
	now = now.Add(30 * time.Hour)
	_, err = p.Sweep(t.Context())
	must(t, err)
	if diff := cmp.Diff(map[string]set{"b": one}, replay(t, p).sets); diff != "" {
		t.Error(diff)
	}
}

func TestMetadataAndAddresses(t *testing.T) {
	db, blobs := memkv.New(), memblob.New()
	p := open(t, db, blobs, nil)
	put(t, p, "a", numbers(t, 0, 5), true)
	bitswap, err := ad.Metadata(ad.Protocol{Code: ad.Bitswap})
	must(t, err)
	must(t, p.Update(t.Context(), []byte("a"), bitswap))
	must(t, p.Update(t.Context(), []byte("a"), bitswap)) // the same
	if err := p.Update(t.Context(), []byte("b"), bitswap); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("update of nothing: %v", err)
	}
	if err := p.Update(t.Context(), []byte("a"), make([]byte, 1025)); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("long metadata: %v", err)
	}
	addrs := []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/192.0.2.7/tcp/80/http")}
	must(t, p.SetAddrs(t.Context(), addrs))
	must(t, p.SetAddrs(t.Context(), addrs))
	must(t, open(t, db, blobs, nil).SetAddrs(t.Context(), addrs))
	got := replay(t, p)
	if len(got.ads) != 3 || got.metadata["a"] != string(bitswap) || len(got.sets["a"]) != 5 || got.addrs[0] != addrs[0].String() {
		t.Errorf("%d advertisements, metadata %x, %d multihashes, addresses %v", len(got.ads), got.metadata["a"], len(got.sets["a"]), got.addrs)
	}
	p = open(t, db, blobs, nil) // addresses are remembered
	put(t, p, "b", numbers(t, 0, 1), true)
	if got := replay(t, p); !slices.Equal(got.addrs, []string{addrs[0].String()}) {
		t.Errorf("addresses after a restart: %v", got.addrs)
	}
}

func TestExtend(t *testing.T) {
	p := open(t, memkv.New(), memblob.New(), nil)
	other, id := ipnitest.Key(2)
	put(t, p, "a", numbers(t, 0, 3), true)
	x := ad.Extended{Providers: []ad.ExtendedProvider{{ID: id, Metadata: []byte{0x80, 0x12}}}}
	for _, context := range []string{"", "a"} {
		c, err := p.Extend(t.Context(), []byte(context), x, other)
		must(t, err)
		b, err := p.Block(t.Context(), c, ipni.Advertisement)
		must(t, err)
		a, err := ad.Decode(c, b)
		must(t, err)
		if string(a.ContextID) != context || len(a.Extended.Providers) != 2 || a.Extended.Providers[0].ID != id || a.Extended.Providers[1].ID != p.ID() {
			t.Errorf("%+v", a.Extended)
		}
	}
	if _, err := p.Extend(t.Context(), nil, x); err == nil {
		t.Error("a provider was added that did not sign")
	}
	if _, err := p.Extend(t.Context(), []byte("b"), x, other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("extend a context that is not there: %v", err)
	}
	if got := replay(t, p); len(got.sets["a"]) != 3 {
		t.Errorf("%d multihashes", len(got.sets["a"]))
	}
}

func TestInvalid(t *testing.T) {
	blobs := memblob.New()
	p := open(t, memkv.New(), blobs, &publish.Options{Chunk: 2})
	boom := errors.New("boom")
	broken := func(yield func(multihash.Multihash, error) bool) {
		for n := range 5 {
			if !yield(mh(t, n), nil) {
				return
			}
		}
		yield(nil, boom)
	}
	for name, c := range map[string]struct {
		id   string
		mhs  iter.Seq2[multihash.Multihash, error]
		md   []byte
		want error
	}{
		"no context":      {"", numbers(t, 0, 1).all(), nil, fs.ErrInvalid},
		"long context":    {strings.Repeat("a", 65), numbers(t, 0, 1).all(), nil, fs.ErrInvalid},
		"long metadata":   {"a", numbers(t, 0, 1).all(), make([]byte, 1025), fs.ErrInvalid},
		"bad multihash":   {"a", set{"no": true}.all(), nil, fs.ErrInvalid},
		"broken sequence": {"a", broken, nil, boom},
	} {
		if _, err := p.Put(t.Context(), []byte(c.id), c.mhs, c.md); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := keys(t, blobs); len(left) > 0 {
		t.Errorf("blocks are left: %v", left)
	}
	key, _ := ipnitest.Key(1)
	if _, err := publish.Open(t.Context(), memkv.New(), blobs, key, nil); err != nil {
		t.Error(err)
	}
}

func TestAnotherKey(t *testing.T) {
	db, blobs := memkv.New(), memblob.New()
	put(t, open(t, db, blobs, nil), "a", numbers(t, 0, 1), true)
	other, _ := ipnitest.Key(2)
	if _, err := publish.Open(t.Context(), db, blobs, other, nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("the chain of another key: %v", err)
	}
}

func TestDamagedBlock(t *testing.T) {
	blobs := memblob.New()
	p := open(t, memkv.New(), blobs, nil)
	put(t, p, "a", numbers(t, 0, 1), true)
	for _, key := range keys(t, blobs) {
		must(t, blobs.Put(t.Context(), key, strings.NewReader("damaged")))
	}
	head, err := p.Head(t.Context())
	must(t, err)
	if _, err := p.Block(t.Context(), head, ipni.Advertisement); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("damaged block: %v", err)
	}
	if _, err := p.Block(t.Context(), cid.NewCidV1(cid.DagJSON, mh(t, 1)), ipni.Advertisement); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no block: %v", err)
	}
}

// TestLargeMultihashes has chunks end before they are larger than indexers take.
func TestLargeMultihashes(t *testing.T) {
	s := set{}
	for n := range 10_000 {
		long := bytes.Repeat(fmt.Appendf(nil, "%08d", n), 100)
		m, err := multihash.Encode(long, multihash.IDENTITY)
		must(t, err)
		s[string(m)] = true
	}
	p := open(t, memkv.New(), memblob.New(), nil)
	put(t, p, "a", s, true)
	if got := replay(t, p); !maps.Equal(got.sets["a"], s) {
		t.Errorf("%d multihashes", len(got.sets["a"]))
	}
}

// TestAnySequence does anything in any order, and compares with what was done.
func TestAnySequence(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		db, blobs := memkv.New(), memblob.New()
		now := time.Now()
		o := &publish.Options{Chunk: 1 + r.IntN(9), Now: func() time.Time { return now }}
		p := open(t, db, blobs, o)
		want := map[string]set{}
		for range 120 {
			id := string(rune('a' + r.IntN(5)))
			switch r.IntN(8) {
			case 0, 1, 2, 3:
				from := r.IntN(40)
				s := numbers(t, from, from+r.IntN(30))
				put(t, p, id, s, len(s) > 0 && !maps.Equal(want[id], s) || len(s) == 0 && want[id] != nil)
				if want[id] = s; len(s) == 0 {
					delete(want, id)
				}
			case 4:
				_, err := p.Remove(t.Context(), []byte(id))
				must(t, err)
				delete(want, id)
			case 5:
				now = now.Add(time.Duration(r.IntN(30)) * time.Hour)
				_, err := p.Sweep(t.Context())
				must(t, err)
			case 6:
				p = open(t, db, blobs, o)
			case 7:
				if want[id] != nil {
					must(t, p.Update(t.Context(), []byte(id), []byte{0x80, 0x12, byte(r.IntN(3))}))
				}
			}
		}
		if diff := cmp.Diff(want, replay(t, p).sets); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		// After long enough there is nothing but the chain.
		now = now.Add(48 * time.Hour)
		_, err := p.Sweep(t.Context())
		must(t, err)
		live := len(replay(t, p).ads)
		for _, key := range keys(t, blobs) {
			if strings.Contains(key, "/ads/") {
				live--
			}
		}
		if live != 0 {
			t.Errorf("seed %d: %d advertisements too few", seed, live)
		}
	}
}
