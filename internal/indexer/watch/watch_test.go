package watch_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/internal/indexer/watch"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/coverage"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// index is an index in memory.
type index struct {
	has   map[string]bool // by multihash, and by the bytes of a second hash
	infos []*model.ProviderInfo
	err   error
	delay time.Duration

	mu    sync.Mutex
	asked int
	busy  int
	most  int // lookups at the same time
}

// begin waits as long as the index takes, and returns its error.
func (x *index) begin(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked++
	x.busy++
	x.most = max(x.most, x.busy)
	delay := x.delay
	x.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
	x.mu.Lock()
	x.busy--
	return x.err
}

// now changes how the index does.
func (x *index) now(delay time.Duration, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.delay, x.err = delay, err
}

func (x *index) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.asked
}

func (x *index) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return func(yield func(ipni.Result, error) bool) {
		if err := x.begin(ctx); err != nil {
			yield(ipni.Result{}, err)
		} else if x.has[string(mh)] {
			yield(ipni.Result{Provider: peer.AddrInfo{ID: "p"}}, nil)
		}
	}
}

func (x *index) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := x.begin(ctx); err != nil {
			yield(nil, err)
		} else if x.has[string(key[:])] {
			yield([]byte("value"), nil)
		}
	}
}

func (x *index) SealedMetadata(context.Context, dhash.MetadataKey) ([]byte, error) { return nil, nil }

func (x *index) Providers(context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return func(yield func(*model.ProviderInfo, error) bool) {
		for _, info := range x.infos {
			if !yield(info, nil) {
				return
			}
		}
		x.mu.Lock()
		err := x.err
		x.mu.Unlock()
		if err != nil {
			yield(nil, err)
		}
	}
}

func (x *index) index() watch.Index { return watch.Index{Finder: x, Sealed: x, Providers: x} }

// gauges remember what they are told.
type gauges struct {
	mu            sync.Mutex
	plain, sealed coverage.Reads
	providers     []coverage.Providers
	failed        int
}

func (g *gauges) Reads(_ string, r coverage.Reads)       { g.set(func() { g.plain = r }) }
func (g *gauges) SealedReads(_ string, r coverage.Reads) { g.set(func() { g.sealed = r }) }
func (g *gauges) Providers(_ string, p coverage.Providers, err error) {
	g.set(func() {
		if g.providers = append(g.providers, p); err != nil {
			g.failed++
		}
	})
}

func (g *gauges) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// run runs a watcher until the test ends.
func run(t *testing.T, o watch.Options) *watch.Watcher {
	w := watch.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
	return w
}

func ask[T any](t *testing.T, seq iter.Seq2[T, error]) (n int) {
	t.Helper()
	for _, err := range seq {
		if err != nil {
			t.Errorf("a live lookup failed: %v", err)
		}
		n++
	}
	return n
}

// TestReads compares what clients look up, in both ways to do so.
func TestReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := ipnitest.Hash(1), ipnitest.Hash(2), ipnitest.Hash(3)
		key, other := dhash.SecondHash(a), dhash.SecondHash(b)
		live := &index{has: map[string]bool{string(a): true, string(b): true, string(key[:]): true}}
		ours := &index{has: map[string]bool{string(a): true, string(key[:]): true}}
		theirs := &index{has: map[string]bool{string(a): true, string(b): true, string(key[:]): true, string(other[:]): true}}
		g := &gauges{}
		w := run(t, watch.Options{Ours: ours.index(), Theirs: theirs.index(), Share: 1, Interval: time.Hour, Gauges: g})
		finder, sealed := w.Finder(live), w.Sealed(live)
		for _, mh := range []multihash.Multihash{a, b, c} {
			lent := append(multihash.Multihash{}, mh...)
			if n := ask(t, finder.Find(t.Context(), lent)); (n == 1) != live.has[string(mh)] {
				t.Errorf("%d results", n)
			}
			clear(lent) // it was lent for the lookup alone
		}
		ask(t, sealed.ValueKeys(t.Context(), key))
		ask(t, sealed.ValueKeys(t.Context(), other))
		ask(t, finder.Find(t.Context(), make(multihash.Multihash, 1000))) // too long to be kept
		time.Sleep(time.Minute)
		g.mu.Lock()
		defer g.mu.Unlock()
		want := coverage.Reads{Asked: 3, Ours: 1, Theirs: 2, Both: 1, Coverage: 0.5, Reverse: 1, NotFoundOurs: 2.0 / 3, NotFoundTheirs: 1.0 / 3,
			Results: 2, ResultsBoth: 1, ResultCoverage: 0.5}
		if d := cmp.Diff(want, g.plain); d != "" {
			t.Error(d)
		}
		want = coverage.Reads{Asked: 2, Ours: 1, Theirs: 2, Both: 1, Coverage: 0.5, Reverse: 1, NotFoundOurs: 0.5, Results: 2, ResultsBoth: 1, ResultCoverage: 0.5}
		if d := cmp.Diff(want, g.sealed); d != "" {
			t.Error(d)
		}
	})
}

// TestShare compares a share of lookups, and none at all with none.
func TestShare(t *testing.T) {
	for share, between := range map[float64][2]int{0: {0, 0}, 0.25: {140, 360}} {
		synctest.Test(t, func(t *testing.T) {
			theirs := &index{}
			w := run(t, watch.Options{Ours: theirs.index(), Theirs: (&index{}).index(), Share: share, Interval: time.Hour, Gauges: &gauges{}})
			finder := w.Finder(&index{})
			for range 1000 {
				ask(t, finder.Find(t.Context(), ipnitest.Hash(1)))
				time.Sleep(time.Second)
			}
			if n := theirs.count(); n < between[0] || n > between[1] {
				t.Errorf("share %v: %d of 1000 were compared", share, n)
			}
		})
	}
}

// TestFlood keeps lookups as quick as they are, and comparisons few, whatever comes.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs, g := &index{delay: 5 * time.Second}, &gauges{}
		w := run(t, watch.Options{Ours: (&index{}).index(), Theirs: theirs.index(), Share: 1, Interval: time.Hour, Gauges: g})
		live := &index{}
		finder := w.Finder(live)
		began := time.Now()
		for range 10000 {
			ask(t, finder.Find(t.Context(), ipnitest.Hash(1)))
		}
		if took := time.Since(began); took > 0 || live.count() != 10000 {
			t.Errorf("%d lookups took %s longer", live.count(), took)
		}
		time.Sleep(time.Hour / 2)
		if n := theirs.count(); n < 60 || n > 70 || theirs.most > 2 {
			t.Errorf("%d were compared, %d at the same time", n, theirs.most)
		}
		theirs.now(0, nil)
		for range 600 {
			ask(t, finder.Find(t.Context(), ipnitest.Hash(1)))
			time.Sleep(time.Millisecond)
		}
		before := theirs.count()
		if before > 80 {
			t.Errorf("%d in less than a second", before)
		}
	})
}

// TestFailing counts lookups that the other index does not answer, and forgets old comparisons.
func TestFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs, g := &index{err: errors.New("gone")}, &gauges{}
		w := run(t, watch.Options{Ours: (&index{}).index(), Theirs: theirs.index(), Share: 1, Interval: time.Hour, Gauges: g})
		finder := w.Finder(&index{})
		many := func(n int) {
			for range n {
				ask(t, finder.Find(t.Context(), ipnitest.Hash(1)))
				time.Sleep(time.Second)
			}
		}
		many(100)
		g.set(func() {
			if g.plain.Failed != 100 || g.plain.Asked != 0 || len(g.plain.Failures) > 0 {
				t.Errorf("%+v", g.plain)
			}
			if g.failed != 1 {
				t.Errorf("%d comparisons of providers failed", g.failed)
			}
		})
		theirs.now(0, nil)
		many(1000)
		g.set(func() {
			if n := g.plain.Asked + g.plain.Failed; g.plain.Failed != 0 || n < 500 || n > 1000 {
				t.Errorf("%+v", g.plain)
			}
		})
	})
}

// chain is a publisher's.
type chain struct {
	*ipnitest.Chain
	closed *atomic.Int64
}

func (c chain) Close() error { c.closed.Add(1); return nil }

// TestProviders compares providers at each interval, and reads chains slowly to tell the distance.
func TestProviders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, id := ipnitest.Key(1)
		c := ipnitest.NewChain(key)
		var ads []cid.Cid
		for range 200 {
			ads = append(ads, c.Add(t, ad.Ad{}, []crypto.PrivKey{key}...))
		}
		_, other := ipnitest.Key(2)
		info := func(id peer.ID, last cid.Cid) *model.ProviderInfo {
			return &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: id}, LastAdvertisement: last, Publisher: &peer.AddrInfo{ID: id}}
		}
		ours := &index{infos: []*model.ProviderInfo{info(id, ads[49])}}
		theirs := &index{infos: []*model.ProviderInfo{info(id, ads[199]), info(other, ads[0])}}
		g, closed := &gauges{}, &atomic.Int64{}
		began := time.Now()
		var took time.Duration
		run(t, watch.Options{Ours: ours.index(), Theirs: theirs.index(), Interval: time.Hour, Gauges: g,
			Open: func(context.Context, peer.AddrInfo) (ipni.Chain, error) { return chain{c, closed}, nil }})
		for took == 0 {
			time.Sleep(100 * time.Millisecond)
			g.set(func() {
				if len(g.providers) > 0 {
					took = time.Since(began)
				}
			})
		}
		g.mu.Lock()
		p := g.providers[0]
		g.mu.Unlock()
		if p.Ours != 1 || p.Theirs != 2 || p.Both != 1 || p.Coverage != 0.5 || p.Behind != 1 || p.Ads != 150 || closed.Load() != 1 {
			t.Errorf("%+v, %d chains closed", p, closed.Load())
		}
		if took < 7*time.Second || took > 9*time.Second {
			t.Errorf("150 advertisements were read in %s", took)
		}
		time.Sleep(3 * time.Hour)
		g.set(func() {
			if len(g.providers) != 4 {
				t.Errorf("%d comparisons in three hours, want 4", len(g.providers))
			}
		})
	})
}

// TestBudget reads no more of chains than is meant for one comparison.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, _ := ipnitest.Key(1)
		c := ipnitest.NewChain(key)
		var ads []cid.Cid
		for range 300 {
			ads = append(ads, c.Add(t, ad.Ad{}, key))
		}
		ours, theirs := &index{}, &index{}
		for n := range byte(40) {
			_, id := ipnitest.Key(n + 2)
			ours.infos = append(ours.infos, &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: id}, LastAdvertisement: ads[0], Publisher: &peer.AddrInfo{ID: id}})
			theirs.infos = append(theirs.infos, &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: id}, LastAdvertisement: ads[200], Publisher: &peer.AddrInfo{ID: id}})
		}
		g, closed := &gauges{}, &atomic.Int64{}
		run(t, watch.Options{Ours: ours.index(), Theirs: theirs.index(), Interval: 24 * time.Hour, Gauges: g,
			Open: func(context.Context, peer.AddrInfo) (ipni.Chain, error) { return chain{c, closed}, nil }})
		time.Sleep(12 * time.Hour)
		g.set(func() {
			if len(g.providers) != 1 || g.providers[0].Behind < 24 || g.providers[0].Unclear < 15 {
				t.Errorf("%+v", g.providers)
			}
		})
		if n := len(c.Asked()); n > 5000 {
			t.Errorf("%d advertisements were read", n)
		}
	})
}
