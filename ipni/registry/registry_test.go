package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

func addr(n int) multiaddr.Multiaddr {
	return multiaddr.StringCast(fmt.Sprintf("/ip4/192.0.2.1/tcp/%d/http", n))
}

func testCID(n int) cid.Cid {
	mh, err := multihash.Sum([]byte{byte(n)}, multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.DagJSON, mh)
}

func extended(ns ...byte) (all []Extended) {
	for _, n := range ns {
		all = append(all, Extended{peer.AddrInfo{ID: ipnitest.ID(n), Addrs: []multiaddr.Multiaddr{addr(int(n))}}, []byte{n}})
	}
	return all
}

var opts = cmp.Options{
	cmpopts.IgnoreUnexported(Provider{}, Set{}), cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b multiaddr.Multiaddr) bool { return bytes.Equal(a.Bytes(), b.Bytes()) }),
	cmp.Comparer(func(a, b cid.Cid) bool { return a == b }),
}

func apply(t *testing.T, s kv.Store, changes ...Change) {
	t.Helper()
	ops, err := New(s).Apply(t.Context(), changes...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Batch(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
}

func sets(t *testing.T, s kv.Store, id peer.ID) (all []Set) {
	t.Helper()
	for set, err := range New(s).Sets(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, set)
	}
	return all
}

func provider(t *testing.T, s kv.Store, id peer.ID) Provider {
	t.Helper()
	p, err := New(s).Provider(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestApply(t *testing.T) {
	s := memkv.New()
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	lag, inactive := 7, true
	apply(t, s, Change{
		Provider: ipnitest.ID(1), Order: 5, Addrs: []multiaddr.Multiaddr{addr(1), addr(2)},
		Advertisement: testCID(1), AdvertisementTime: now,
		Publisher: &peer.AddrInfo{ID: ipnitest.ID(9), Addrs: []multiaddr.Multiaddr{addr(9)}},
		Lag:       &lag, Failure: &Failure{"<cause> \xff" + strings.Repeat("x", 2000), now}, Frozen: &Frozen{testCID(2), now}, Inactive: &inactive,
	})
	want := Provider{
		ID: ipnitest.ID(1), Addrs: []multiaddr.Multiaddr{addr(1), addr(2)},
		Publisher:         peer.AddrInfo{ID: ipnitest.ID(9), Addrs: []multiaddr.Multiaddr{addr(9)}},
		LastAdvertisement: testCID(1), LastAdvertisementTime: now, Lag: 7,
		LastError: "<cause> " + strings.Repeat("x", 1024-9), LastErrorTime: now, FrozenAt: testCID(2), FrozenAtTime: now, Inactive: true,
	}
	if diff := cmp.Diff(want, provider(t, s, ipnitest.ID(1)), opts); diff != "" {
		t.Error(diff)
	}

	lag, inactive = 0, false
	apply(t, s, Change{
		Provider: ipnitest.ID(1), Publisher: &peer.AddrInfo{ID: ipnitest.ID(9)}, Lag: &lag,
		Failure: &Failure{}, Frozen: &Frozen{}, Inactive: &inactive,
	})
	want.Lag, want.LastError, want.LastErrorTime = 0, "", time.Time{}
	want.FrozenAt, want.FrozenAtTime, want.Inactive = cid.Undef, time.Time{}, false
	if diff := cmp.Diff(want, provider(t, s, ipnitest.ID(1)), opts); diff != "" {
		t.Error(diff)
	}
	if ops, err := New(s).Apply(t.Context(), Change{Provider: ipnitest.ID(1), Lag: &lag}); err != nil || len(ops) != 0 {
		t.Errorf("a change of nothing: %d operations, %v", len(ops), err)
	}
	apply(t, s, Change{Provider: ipnitest.ID(1), Publisher: &peer.AddrInfo{ID: ipnitest.ID(8)}})
	if p := provider(t, s, ipnitest.ID(1)).Publisher; p.ID != ipnitest.ID(8) || len(p.Addrs) != 0 {
		t.Errorf("another publisher has the addresses of the one before: %v", p)
	}
}

// TestOrder applies advertisements in each order: the result is that of the newest.
func TestOrder(t *testing.T) {
	ads := []Change{
		{Order: 1, Addrs: []multiaddr.Multiaddr{addr(1)}, Advertisement: testCID(1), Extended: &Set{Providers: extended(1, 2)}},
		{Order: 2, Addrs: []multiaddr.Multiaddr{addr(2)}, Advertisement: testCID(2), Extended: &Set{ContextID: "a", Providers: extended(3)}},
		{Order: 3, Advertisement: testCID(3), Extended: &Set{ContextID: "b", Override: true, Providers: extended(4)}},
		{Order: 4, Advertisement: testCID(4), Extended: &Set{ContextID: "a"}}, // removes it
		{Order: 5, Advertisement: testCID(5), Extended: &Set{Providers: extended(5)}},
	}
	for _, order := range [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {3, 1, 4, 0, 2}, {0, 0, 4, 4, 3, 2, 1}} {
		for _, together := range []bool{false, true} {
			s := memkv.New()
			var changes []Change
			for _, i := range order {
				c := ads[i]
				c.Provider = ipnitest.ID(1)
				changes = append(changes, c)
			}
			if together {
				apply(t, s, changes...)
			} else {
				for _, c := range changes {
					apply(t, s, c)
				}
			}
			p := provider(t, s, ipnitest.ID(1))
			if p.LastAdvertisement != testCID(5) || len(p.Addrs) != 1 || !p.Addrs[0].Equal(addr(2)) {
				t.Errorf("%v: %+v", order, p)
			}
			want := []Set{{Providers: extended(5)}, {ContextID: "b", Override: true, Providers: extended(4)}}
			if diff := cmp.Diff(want, sets(t, s, ipnitest.ID(1)), opts); diff != "" {
				t.Errorf("%v: %s", order, diff)
			}
			contextual, chain, err := New(s).Extended(t.Context(), ipnitest.ID(1), "a")
			if contextual != nil || chain == nil || err != nil {
				t.Errorf("%v: extended providers of a: %v, %v, %v", order, contextual, chain, err)
			}
		}
	}
}

// TestSetsStay is the defect of an update that replaces all extended providers by those
// of the last advertisement.
func TestSetsStay(t *testing.T) {
	s := memkv.New()
	for i, id := range []string{"", "a", "b"} {
		apply(t, s, Change{Provider: ipnitest.ID(1), Order: uint64(i), Extended: &Set{ContextID: id, Providers: extended(byte(i))}})
	}
	apply(t, s, Change{Provider: ipnitest.ID(1), Order: 9, Addrs: []multiaddr.Multiaddr{addr(1)}})
	apply(t, s, Change{Provider: ipnitest.ID(2), Order: 9, Extended: &Set{Providers: extended(7)}})
	if got := sets(t, s, ipnitest.ID(1)); len(got) != 3 {
		t.Errorf("%d sets are left", len(got))
	}
	for i, id := range []string{"", "a", "b"} {
		contextual, chain, err := New(s).Extended(t.Context(), ipnitest.ID(1), id)
		if id == "" {
			contextual = chain
		}
		if err != nil || chain == nil || contextual == nil || contextual.Providers[0].ID != ipnitest.ID(byte(i)) {
			t.Errorf("set %q: %+v, %v", id, contextual, err)
		}
	}
}

func TestOverrideOfNobodyStays(t *testing.T) {
	s := memkv.New()
	apply(t, s, Change{Provider: ipnitest.ID(1), Extended: &Set{ContextID: "a", Override: true}})
	contextual, _, err := New(s).Extended(t.Context(), ipnitest.ID(1), "a")
	if err != nil || contextual == nil || !contextual.Override {
		t.Errorf("%+v, %v", contextual, err)
	}
}

func TestRemove(t *testing.T) {
	s := memkv.New()
	for n := range byte(3) {
		apply(t, s, Change{Provider: ipnitest.ID(n)}, Change{Provider: ipnitest.ID(n), Extended: &Set{Providers: extended(1)}},
			Change{Provider: ipnitest.ID(n), Extended: &Set{ContextID: "\xff", Providers: extended(1)}})
	}
	ops, err := Remove(ipnitest.ID(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Batch(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
	var left []peer.ID
	for p, err := range New(s).Providers(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, p.ID)
	}
	if !slices.Equal(left, []peer.ID{ipnitest.ID(0), ipnitest.ID(2)}) || len(sets(t, s, ipnitest.ID(1))) != 0 || len(sets(t, s, ipnitest.ID(2))) != 2 {
		t.Errorf("left: %v", left)
	}
	if _, err := New(s).Provider(t.Context(), ipnitest.ID(1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed provider: %v", err)
	}
}

func TestApplyRejects(t *testing.T) {
	ok := ipnitest.ID(1)
	many := slices.Repeat([]multiaddr.Multiaddr{addr(1)}, MaxAddrs+1)
	negative := -1
	for name, c := range map[string]Change{
		"no provider":      {},
		"two providers":    {Provider: ok + ok},
		"long id":          {Provider: peer.ID("\x00\xc8\x01" + strings.Repeat("x", 300))},
		"many addresses":   {Provider: ok, Addrs: many},
		"no address":       {Provider: ok, Addrs: []multiaddr.Multiaddr{nil}},
		"long address":     {Provider: ok, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/dns/" + strings.Repeat("x", MaxAddr))}},
		"publisher":        {Provider: ok, Publisher: &peer.AddrInfo{}},
		"lag":              {Provider: ok, Lag: &negative},
		"long context":     {Provider: ok, Extended: &Set{ContextID: strings.Repeat("x", MaxContext+1)}},
		"chain overrides":  {Provider: ok, Extended: &Set{Override: true}},
		"many extended":    {Provider: ok, Extended: &Set{Providers: make([]Extended, MaxExtended+1)}},
		"extended without": {Provider: ok, Extended: &Set{Providers: make([]Extended, 1)}},
		"metadata": {Provider: ok, Extended: &Set{Providers: []Extended{
			{AddrInfo: peer.AddrInfo{ID: ok}, Metadata: make([]byte, MaxMetadata+1)},
		}}},
	} {
		if ops, err := New(memkv.New()).Apply(t.Context(), c); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %d operations, %v", name, len(ops), err)
		}
	}
}

func TestView(t *testing.T) {
	s := memkv.New()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	apply(t, s, Change{
		Provider: ipnitest.ID(1), Addrs: []multiaddr.Multiaddr{addr(1)}, Advertisement: testCID(1), AdvertisementTime: now,
		Publisher: &peer.AddrInfo{ID: ipnitest.ID(9), Addrs: []multiaddr.Multiaddr{addr(9)}}, Failure: &Failure{"cause", now},
		Extended: &Set{Providers: extended(2, 3)},
	}, Change{Provider: ipnitest.ID(1), Extended: &Set{ContextID: "a", Override: true, Providers: extended(4)}},
		Change{Provider: ipnitest.ID(2)})
	v := NewView(New(s), func(id peer.ID) bool { return id != ipnitest.ID(2) })
	got, err := v.Provider(t.Context(), ipnitest.ID(1))
	if err != nil {
		t.Fatal(err)
	}
	infos := func(ns ...byte) (all []peer.AddrInfo) {
		for _, x := range extended(ns...) {
			all = append(all, x.AddrInfo)
		}
		return all
	}
	want := &model.ProviderInfo{
		AddrInfo:          peer.AddrInfo{ID: ipnitest.ID(1), Addrs: []multiaddr.Multiaddr{addr(1)}},
		LastAdvertisement: testCID(1), LastAdvertisementTime: "2026-01-02T03:04:05Z",
		Publisher: &peer.AddrInfo{ID: ipnitest.ID(9), Addrs: []multiaddr.Multiaddr{addr(9)}},
		LastError: "cause", LastErrorTime: "2026-01-02T03:04:05Z",
		ExtendedProviders: &model.ExtendedProviders{
			Providers: infos(2, 3), Metadatas: [][]byte{{2}, {3}},
			Contextual: []model.ContextualExtendedProviders{{Override: true, ContextID: "a", Providers: infos(4), Metadatas: [][]byte{{4}}}},
		},
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Error(diff)
	}
	if _, err := v.Provider(t.Context(), ipnitest.ID(2)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("blocked: %v", err)
	}
	n := 0
	for _, err := range v.Providers(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d providers", n)
	}

	imported := memkv.New()
	apply(t, imported, FromInfo(got)...)
	if diff := cmp.Diff(sets(t, s, ipnitest.ID(1)), sets(t, imported, ipnitest.ID(1)), opts); diff != "" {
		t.Error(diff)
	}
	if p := provider(t, imported, ipnitest.ID(1)); p.Publisher.ID != ipnitest.ID(9) || len(p.Addrs) != 1 {
		t.Errorf("imported %+v", p)
	}
}

// countKV counts reads.
type countKV struct {
	kv.Store
	reads int
}

func (c *countKV) Get(ctx context.Context, key []byte) ([]byte, error) {
	c.reads++
	return c.Store.Get(ctx, key)
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &countKV{Store: memkv.New()}
		c := NewCache(New(s), 10*time.Second)
		if _, err := c.Provider(t.Context(), ipnitest.ID(1)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("unknown provider: %v", err)
		}
		apply(t, s.Store, Change{Provider: ipnitest.ID(1), Addrs: []multiaddr.Multiaddr{addr(1)}, Extended: &Set{Providers: extended(2)}},
			Change{Provider: ipnitest.ID(1), Extended: &Set{ContextID: "a", Providers: extended(3)}})
		time.Sleep(9 * time.Second)
		if _, err := c.Provider(t.Context(), ipnitest.ID(1)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("was asked too early: %v", err)
		}
		time.Sleep(2 * time.Second)
		for range 3 {
			p, err := c.Provider(t.Context(), ipnitest.ID(1))
			if err != nil || len(p.Addrs) != 1 {
				t.Fatalf("%+v, %v", p, err)
			}
			for id, want := range map[string]bool{"a": true, "b": false, "": false} {
				contextual, chain, err := c.Extended(t.Context(), ipnitest.ID(1), id)
				if err != nil || chain == nil || chain.Providers[0].ID != ipnitest.ID(2) || (contextual != nil) != want {
					t.Errorf("%q: %v, %v, %v", id, contextual, chain, err)
				}
			}
		}
		if want := 1 + 2 + 2; s.reads != want {
			t.Errorf("%d reads, not %d", s.reads, want)
		}
		apply(t, s.Store, Change{Provider: ipnitest.ID(2), Extended: &Set{Providers: extended(2)}})
		s.reads = 0
		if contextual, chain, err := c.Extended(t.Context(), ipnitest.ID(2), "a"); contextual != nil || chain == nil || err != nil || s.reads != 2 {
			t.Errorf("without sets of contexts: %v, %v, %v, %d reads", contextual, chain, err, s.reads)
		}
		apply(t, s.Store, Change{Provider: ipnitest.ID(1), Order: 1, Extended: &Set{ContextID: "a"}})
		time.Sleep(11 * time.Second)
		if contextual, _, err := c.Extended(t.Context(), ipnitest.ID(1), "a"); contextual != nil || err != nil {
			t.Errorf("a removed set: %v, %v", contextual, err)
		}
	})
}

func TestCorruptRows(t *testing.T) {
	s := memkv.New()
	apply(t, s, Change{Provider: ipnitest.ID(1), Addrs: []multiaddr.Multiaddr{addr(1)}, Extended: &Set{Providers: extended(1)}})
	for _, key := range [][]byte{providerKey(ipnitest.ID(1)), setKey(ipnitest.ID(1), "")} {
		good, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"", "{}", `{"version":2}`, string(good) + " ", strings.Replace(string(good), `1,`, `1,"x":1,`, 1)} {
			if err := s.Batch(t.Context(), []kv.Op{kv.Put(key, []byte(bad))}); err != nil {
				t.Fatal(err)
			}
			_, errP := New(s).Provider(t.Context(), ipnitest.ID(1))
			_, _, errS := New(s).Extended(t.Context(), ipnitest.ID(1), "")
			if err := errors.Join(errP, errS); !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		if err := s.Batch(t.Context(), []kv.Op{kv.Put(key, good)}); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzProvider(f *testing.F) {
	good, err := encodeProvider(Provider{Addrs: []multiaddr.Multiaddr{addr(1)}, LastAdvertisement: testCID(1), LastAdvertisementTime: time.Unix(1, 2)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeProvider(ipnitest.ID(1), b)
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Fatal(err)
			}
			return
		}
		if again, err := encodeProvider(p); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q became %q, %v", b, again, err)
		}
	})
}

func FuzzSet(f *testing.F) {
	good, err := encodeSet(Set{Override: true, Providers: extended(1, 2)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSet("a", b)
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Fatal(err)
			}
			return
		}
		if again, err := encodeSet(s); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q became %q, %v", b, again, err)
		}
	})
}

// An advertisement is processed, and what it says is written with the fact that it was.
func ExampleRegistry_Apply() {
	ctx := context.Background()
	store := memkv.New()
	r := New(store)
	ops, err := r.Apply(ctx, Change{Provider: ipnitest.ID(1), Order: 1, Addrs: []multiaddr.Multiaddr{addr(80)}})
	if err != nil {
		panic(err)
	}
	if err := store.Batch(ctx, append(ops, kv.Put([]byte("processed"), []byte("yes")))); err != nil {
		panic(err)
	}
	p, _ := r.Provider(ctx, ipnitest.ID(1))
	fmt.Println(p.Addrs)
	// Output: [/ip4/192.0.2.1/tcp/80/http]
}
