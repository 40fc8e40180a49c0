package find

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipni/go-libipni/find/model"
	"github.com/ipni/go-libipni/pcache"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv/memkv"
)

func text(r ipni.Result) string {
	return fmt.Sprintf("%d %v %q %q", r.Provider.ID[6], r.Provider.Addrs, r.ContextID, r.Metadata)
}

// collect returns the results in order, and the last error.
func collect(seq iter.Seq2[ipni.Result, error]) (all []string, failed error) {
	for r, err := range seq {
		if err != nil {
			failed = err
			continue
		}
		all = append(all, text(r))
	}
	slices.Sort(all)
	return all, failed
}

// everyWay runs a test with lookups in plain and by second hashes, one at a time and several.
func everyWay(t *testing.T, f func(t *testing.T, m *memIndex, find func(Providers, Options) *Finder)) {
	for _, sealed := range []bool{false, true} {
		for _, ahead := range []int{0, 4} {
			t.Run(fmt.Sprintf("sealed=%v,ahead=%d", sealed, ahead), func(t *testing.T) {
				m := newMemIndex()
				f(t, m, func(p Providers, o Options) *Finder {
					o.Ahead = ahead
					if sealed {
						return New(Open(m), p, &o)
					}
					return New(m, p, &o)
				})
			})
		}
	}
}

func TestFind(t *testing.T) {
	everyWay(t, func(t *testing.T, m *memIndex, find func(Providers, Options) *Finder) {
		for i := range 10 {
			m.put(hash(0), testContext(1, fmt.Sprint(i)), []byte("md"))
		}
		m.put(hash(0), testContext(1, "0"), []byte("md"))       // twice
		m.put(hash(0), testContext(2, "blocked"), []byte("md")) // not allowed
		m.put(hash(0), testContext(3, "unknown"), []byte("md"))
		m.put(hash(0), testContext(4, "no metadata"), nil)
		f := find(everybody{map[peer.ID]error{ipnitest.ID(3): fs.ErrNotExist}}, Options{
			Allowed: func(id peer.ID) bool { return id != ipnitest.ID(2) },
		})
		got, err := collect(f.Find(t.Context(), hash(0)))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprintf("1 [/ip4/192.0.2.1/tcp/80/http] %q %q", fmt.Sprint(i), "md"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if got, err := collect(f.Find(t.Context(), hash(1))); len(got) != 0 || err != nil {
			t.Errorf("nobody: %v, %v", got, err)
		}
	})
}

// TestPartial fails for some: the others are found, and the failure is told, for otherwise
// nobody could be told from nobody who answers.
func TestPartial(t *testing.T) {
	everyWay(t, func(t *testing.T, m *memIndex, find func(Providers, Options) *Finder) {
		boom, listed := errors.New("boom"), errors.New("listed")
		for i := range 40 {
			m.put(hash(0), testContext(byte(1+i%2), fmt.Sprint(i)), []byte("md"))
		}
		m.listed = listed
		f := find(everybody{map[peer.ID]error{ipnitest.ID(2): boom}}, Options{})
		got, err := collect(f.Find(t.Context(), hash(0)))
		if len(got) != 20 || !errors.Is(err, boom) {
			t.Errorf("%d results, %v", len(got), err)
		}
		if n := strings.Count(err.Error(), "boom"); n > maxErrors {
			t.Errorf("an error of %d texts", n)
		}
		if got, err := collect(f.Find(t.Context(), hash(7))); len(got) != 0 || !errors.Is(err, listed) {
			t.Errorf("%d results, %v", len(got), err)
		}
		m.metaHook = func(context.Context, []byte) error { return boom }
		if got, err := collect(f.Find(t.Context(), hash(0))); len(got) != 0 || !errors.Is(err, boom) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d results, %v", len(got), err)
		}
	})
}

func TestInactiveIsLeftOut(t *testing.T) {
	m := newMemIndex()
	m.put(hash(0), testContext(1, "a"), []byte("md"))
	store := memkv.New()
	inactive := true
	ops, err := registry.New(store).Apply(t.Context(), registry.Change{Provider: ipnitest.ID(1), Inactive: &inactive})
	if err == nil {
		err = store.Batch(t.Context(), ops)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := collect(New(m, registry.New(store), nil).Find(t.Context(), hash(0))); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// TestFirstResultFirst wants the first result of many before others are asked for, and
// nothing to go on when the reader stops.
func TestFirstResultFirst(t *testing.T) {
	everyWay(t, func(t *testing.T, m *memIndex, find func(Providers, Options) *Finder) {
		const n = 14000
		for i := range n {
			m.put(hash(0), testContext(1, fmt.Sprint(i)), []byte("md"))
		}
		synctest.Test(t, func(t *testing.T) { // which ends when all that was begun here does
			endless := context.WithoutCancel(t.Context())
			for _, err := range find(everybody{}, Options{}).Find(endless, hash(0)) {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if m.yielded > 10 {
				t.Errorf("%d contexts were read for the first result", m.yielded)
			}
		})
		if got, err := collect(find(everybody{}, Options{}).Find(t.Context(), hash(0))); len(got) != n || err != nil {
			t.Errorf("%d results, %v", len(got), err)
		}
	})
}

// TestAhead asks for metadata that takes a second each: as many at a time as it may.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemIndex()
		for i := range 20 {
			m.put(hash(0), testContext(1, fmt.Sprint(i)), []byte("md"))
		}
		now, most := 0, 0
		m.metaHook = func(context.Context, []byte) error {
			m.mu.Lock()
			now++
			most = max(most, now)
			m.mu.Unlock()
			time.Sleep(time.Second)
			m.mu.Lock()
			now--
			m.mu.Unlock()
			return nil
		}
		start := time.Now()
		got, err := collect(New(Open(m), everybody{}, &Options{Ahead: 5}).Find(t.Context(), hash(0)))
		if took := time.Since(start); len(got) != 20 || err != nil || took != 4*time.Second || most != 5 {
			t.Errorf("%d results after %s, %d at a time, %v", len(got), took, most, err)
		}
	})
}

// TestCanceled stops while metadata hangs.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemIndex()
		for i := range 20 {
			m.put(hash(0), testContext(1, fmt.Sprint(i)), []byte("md"))
		}
		m.metaHook = func(ctx context.Context, _ []byte) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		for _, ahead := range []int{1, 5} {
			over, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := collect(New(Open(m), everybody{}, &Options{Ahead: ahead}).Find(over, hash(0))); !errors.Is(err, context.Canceled) {
				t.Errorf("canceled before: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			got, err := collect(New(Open(m), everybody{}, &Options{Ahead: ahead}).Find(ctx, hash(0)))
			if len(got) != 0 || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d results, %v", len(got), err)
			}
		}
	})
}

func TestOpenSkipsGarbage(t *testing.T) {
	m := newMemIndex()
	key := dhash.SecondHash(hash(0))
	m.sealed[key] = [][]byte{nil, []byte("garbage"), dhash.Seal(nil, []byte("no value key"), hash(0)), dhash.Seal(nil, testContext(1, "b").ValueKey(), hash(1))}
	m.put(hash(0), testContext(1, "a"), []byte("md"))
	o := Open(m)
	got, err := collect(New(o, everybody{}, nil).Find(t.Context(), hash(0)))
	if len(got) != 1 || err != nil || o.Foreign() != 4 {
		t.Errorf("%v, %v, %d foreign", got, err, o.Foreign())
	}
	m.metadata[dhash.HashValueKey(testContext(1, "a").ValueKey())] = []byte("garbage")
	if _, err := collect(New(o, everybody{}, nil).Find(t.Context(), hash(0))); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("metadata that does not open: %v", err)
	}
}

// infoSource describes providers, to us and to go-libipni.
type infoSource struct {
	infos map[peer.ID]*model.ProviderInfo
	asked int
	err   error
}

func (s *infoSource) Provider(_ context.Context, id peer.ID) (*model.ProviderInfo, error) {
	s.asked++
	if i, ok := s.infos[id]; ok || s.err != nil {
		return i, s.err
	}
	return nil, fs.ErrNotExist
}

func (s *infoSource) Fetch(_ context.Context, id peer.ID) (*model.ProviderInfo, error) {
	return s.infos[id], nil
}

func (s *infoSource) FetchAll(context.Context) (all []*model.ProviderInfo, _ error) {
	for _, i := range s.infos {
		all = append(all, i)
	}
	return all, nil
}

func (s *infoSource) String() string { return "test" }

// randomExtended returns some extended providers, among them now and then the main one.
func randomExtended(rnd *rand.Rand) (infos []peer.AddrInfo, metadatas [][]byte) {
	for range rnd.IntN(4) {
		n := rnd.IntN(4)
		infos = append(infos, peer.AddrInfo{ID: ipnitest.ID(byte(n)), Addrs: []multiaddr.Multiaddr{addr(n)}})
		metadatas = append(metadatas, [][]byte{nil, []byte("md"), []byte("other")}[rnd.IntN(3)])
	}
	return infos, metadatas
}

// TestExpansionOracle expands as go-libipni does with what is known of the same providers,
// except that no result is there twice.
func TestExpansionOracle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		src := &infoSource{infos: map[peer.ID]*model.ProviderInfo{}}
		info := &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: ipnitest.ID(1), Addrs: []multiaddr.Multiaddr{addr(1)}}, LastAdvertisementTime: "2026-01-02T03:04:05Z"}
		src.infos[ipnitest.ID(1)] = info
		if rnd.IntN(5) > 0 {
			x := &model.ExtendedProviders{}
			x.Providers, x.Metadatas = randomExtended(rnd)
			for _, id := range []string{"a", "b"} {
				if rnd.IntN(2) == 0 {
					c := model.ContextualExtendedProviders{ContextID: id, Override: rnd.IntN(2) == 0}
					c.Providers, c.Metadatas = randomExtended(rnd)
					x.Contextual = append(x.Contextual, c)
				}
			}
			info.ExtendedProviders = x
		}
		store := memkv.New()
		ops, err := registry.New(store).Apply(t.Context(), registry.FromInfo(info)...)
		if err == nil {
			err = store.Batch(t.Context(), ops)
		}
		if err != nil {
			t.Fatal(err)
		}
		oracle, err := pcache.New(pcache.WithSource(src), pcache.WithRefreshInterval(0))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"", "a", "b", "c"} {
			m := newMemIndex()
			m.put(hash(0), testContext(1, id), []byte("md"))
			results, err := oracle.GetResults(t.Context(), ipnitest.ID(1), []byte(id), []byte("md"))
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, r := range results {
				want = append(want, text(ipni.Result{Provider: *r.Provider, ContextID: r.ContextID, Metadata: r.Metadata}))
			}
			slices.Sort(want)
			want = slices.Compact(want)
			for name, p := range map[string]Providers{
				"infos": NewInfos(src, time.Minute), "registry": registry.New(store), "cache": registry.NewCache(registry.New(store), time.Minute),
			} {
				got, err := collect(New(m, p, nil).Find(t.Context(), hash(0)))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s, context %q: %s", name, id, diff)
				}
			}
		}
	}
}

func TestBlockedExtendedProvider(t *testing.T) {
	m := newMemIndex()
	m.put(hash(0), testContext(1, "a"), []byte("md"))
	src := &infoSource{infos: map[peer.ID]*model.ProviderInfo{ipnitest.ID(1): {
		AddrInfo:          peer.AddrInfo{ID: ipnitest.ID(1)},
		ExtendedProviders: &model.ExtendedProviders{Providers: []peer.AddrInfo{{ID: ipnitest.ID(2)}, {ID: ipnitest.ID(3)}}},
	}}}
	f := New(m, NewInfos(src, time.Minute), &Options{Allowed: func(id peer.ID) bool { return id != ipnitest.ID(2) }})
	got, err := collect(f.Find(t.Context(), hash(0)))
	if len(got) != 2 || err != nil || !strings.HasPrefix(got[1], "3") {
		t.Errorf("%v, %v", got, err)
	}
}

func TestInfos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &infoSource{infos: map[peer.ID]*model.ProviderInfo{}}
		s := NewInfos(src, time.Minute)
		for range 3 {
			if _, err := s.Provider(t.Context(), ipnitest.ID(1)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("unknown: %v", err)
			}
		}
		if src.asked != 1 {
			t.Errorf("asked %d times", src.asked)
		}
		// A failure is no absence, and is not remembered.
		src.err = errors.New("boom")
		if _, err := s.Provider(t.Context(), ipnitest.ID(2)); !errors.Is(err, src.err) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("failure: %v", err)
		}
		src.err = nil
		src.infos[ipnitest.ID(2)] = &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: ipnitest.ID(2)}}
		src.infos[ipnitest.ID(1)] = src.infos[ipnitest.ID(2)]
		src.infos[ipnitest.ID(4)] = &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: ipnitest.ID(4)}, Inactive: true}
		if p, err := s.Provider(t.Context(), ipnitest.ID(4)); err != nil || !p.Inactive {
			t.Errorf("inactive: %+v, %v", p, err)
		}
		if _, err := s.Provider(t.Context(), ipnitest.ID(2)); err != nil {
			t.Errorf("after a failure: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := s.Provider(t.Context(), ipnitest.ID(1)); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the answer of another: %v", err)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{0, 1, 14000} {
		m := newMemIndex()
		for i := range n {
			m.put(hash(0), testContext(1, fmt.Sprint(i)), bytes.Repeat([]byte{1}, 10))
		}
		for name, l := range map[string]ipni.Lookup{"plain": m, "sealed": Open(m)} {
			b.Run(fmt.Sprintf("%s/contexts=%d", name, n), func(b *testing.B) {
				f := New(l, everybody{}, nil)
				b.ReportAllocs()
				var first time.Duration
				for b.Loop() {
					start := time.Now()
					got := 0
					for _, err := range f.Find(b.Context(), hash(0)) {
						if err != nil {
							b.Fatal(err)
						}
						if got++; got == 1 {
							first += time.Since(start)
						}
					}
					if got != n {
						b.Fatal(got)
					}
				}
				b.ReportMetric(float64(first.Nanoseconds())/float64(b.N), "ns/first")
			})
		}
	}
}

// A reader asks an index by the second hash, which tells it nothing, and learns who has
// the content.
func ExampleOpen() {
	index := newMemIndex() // as a client of another indexer is one
	index.put(hash(42), testContext(1, "my files"), []byte{0x80, 0x12})

	f := New(Open(index), everybody{}, &Options{Ahead: 8})
	for r, err := range f.Find(context.Background(), hash(42)) {
		fmt.Printf("%s %x %v\n", r.ContextID, r.Metadata, err)
	}
	// Output: my files 8012 <nil>
}
