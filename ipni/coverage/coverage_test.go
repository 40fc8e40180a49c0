package coverage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/coverage"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// chain is advertisements in memory, the oldest first.
type chain struct {
	id     peer.ID
	ads    []cid.Cid
	blocks map[cid.Cid][]byte
	read   atomic.Int64
	closed atomic.Int64
}

func newChain(t testing.TB, n byte, length int) *chain {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(bytes.Repeat([]byte{n}, 64)))
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := &chain{id: id, blocks: map[cid.Cid][]byte{}}
	previous := cid.Undef
	for i := range length {
		a, block, err := ad.New(ad.Ad{Provider: id, Previous: previous, ContextID: []byte{byte(i)}, Metadata: []byte{0x80, 0x12}}, key)
		if err != nil {
			t.Fatal(err)
		}
		c.ads, c.blocks[a], previous = append(c.ads, a), block, a
	}
	return c
}

func (c *chain) Head(context.Context) (cid.Cid, error) { return c.ads[len(c.ads)-1], nil }

func (c *chain) Block(_ context.Context, id cid.Cid, _ ipni.Kind) ([]byte, error) {
	c.read.Add(1)
	if b, ok := c.blocks[id]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (c *chain) Close() error {
	c.closed.Add(1)
	return nil
}

func (c *chain) info(last int) *model.ProviderInfo {
	info := &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: c.id}, Publisher: &peer.AddrInfo{ID: c.id}}
	if last >= 0 {
		info.LastAdvertisement = c.ads[last]
	}
	return info
}

// directory is a list of providers.
type directory []*model.ProviderInfo

func (d directory) Providers(context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return func(yield func(*model.ProviderInfo, error) bool) {
		for _, info := range d {
			if info == nil {
				yield(nil, errGone)
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

var errGone = errors.New("the index is gone")

// TestProviders compares two indexes that are each ahead of the other somewhere.
func TestProviders(t *testing.T) {
	var chains []*chain
	for i := range 9 {
		chains = append(chains, newChain(t, byte(i), 8))
	}
	fork := newChain(t, 1, 3) // of the same provider: its context ids are the same, so it is a part
	if fork.ads[2] != chains[1].ads[2] {
		t.Fatal("chains are not deterministic")
	}
	noPublisher := chains[6].info(5)
	noPublisher.Publisher = nil
	ownNoPublisher := chains[6].info(2)
	ownNoPublisher.Publisher = nil
	theirs := directory{chains[0].info(7), chains[1].info(7), chains[2].info(2), chains[3].info(7), chains[4].info(4), chains[5].info(-1), noPublisher, chains[7].info(7)}
	ours := directory{chains[0].info(7), chains[1].info(4), chains[2].info(5), chains[3].info(-1), chains[5].info(3), ownNoPublisher, chains[7].info(0), chains[8].info(7)}
	delete(chains[7].blocks, chains[7].ads[3])
	open := func(_ context.Context, p peer.AddrInfo) (ipni.Chain, error) {
		for _, c := range chains {
			if c.id == p.ID {
				return c, nil
			}
		}
		return nil, errGone
	}
	got, err := coverage.CompareProviders(t.Context(), ours, theirs, &coverage.Options{Distance: coverage.Walk(open, 100)})
	if err != nil {
		t.Fatal(err)
	}
	want := coverage.Providers{
		Ours: 8, Theirs: 8, Both: 7, Coverage: 7.0 / 8, Same: 1, Behind: 2, Ahead: 1, Unclear: 3, Ads: 11, MaxAds: 8,
		Missing: []peer.ID{chains[4].id},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(coverage.Providers{}, "Worst")); diff != "" {
		t.Error(diff)
	}
	if len(got.Worst) != 5 || got.Worst[0].Provider != chains[3].id || got.Worst[0].Ads != 8 || got.Worst[1].Provider != chains[1].id || got.Worst[1].Ads != 3 {
		t.Errorf("the worst are %+v", got.Worst)
	}
	for _, d := range got.Worst[2:] {
		if d.Cause == "" || d.Ads != 0 {
			t.Errorf("unclear: %+v", d)
		}
	}
	for i, c := range chains {
		if n := c.closed.Load(); n != map[int]int64{1: 1, 2: 1, 3: 1, 7: 1}[i] {
			t.Errorf("chain %d was closed %d times", i, n)
		}
	}
	text, err := json.Marshal(got)
	if err != nil || !strings.Contains(string(text), `"coverage":0.875`) {
		t.Errorf("%s, %v", text, err)
	}
}

// TestWalkDepth: a chain is not read further than was allowed.
func TestWalkDepth(t *testing.T) {
	c := newChain(t, 1, 30)
	walk := coverage.Walk(func(context.Context, peer.AddrInfo) (ipni.Chain, error) { return c, nil }, 10)
	for _, x := range []struct {
		ours, theirs, want int
		apart              bool
	}{{5, 15, 10, false}, {4, 15, 0, true}, {15, 5, -10, false}, {29, 0, 0, true}, {3, 3, 0, false}} {
		before := c.read.Load()
		n, err := walk(t.Context(), peer.AddrInfo{}, c.ads[x.ours], c.ads[x.theirs])
		if n != x.want || errors.Is(err, coverage.ErrApart) != x.apart || err != nil && !x.apart {
			t.Errorf("ours %d, theirs %d: %d, %v", x.ours, x.theirs, n, err)
		}
		if read := c.read.Load() - before; read > 20 {
			t.Errorf("%d advertisements were read", read)
		}
	}
}

func TestProvidersFail(t *testing.T) {
	for _, x := range [][2]directory{{{nil}, {}}, {{}, {nil}}} {
		if _, err := coverage.CompareProviders(t.Context(), x[0], x[1], nil); !errors.Is(err, errGone) {
			t.Errorf("%v", err)
		}
	}
	got, err := coverage.CompareProviders(t.Context(), directory{}, directory{}, nil)
	if diff := cmp.Diff(coverage.Providers{Coverage: 1}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	c := newChain(t, 1, 3)
	got, err = coverage.CompareProviders(t.Context(), directory{c.info(0)}, directory{c.info(2)}, &coverage.Options{Examples: -1})
	if err != nil || got.Unclear != 1 || len(got.Worst) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// index is providers by multihash. An error follows what is there.
type index struct {
	found map[string][]int
	fail  map[string]error
	mu    sync.Mutex
	asked []time.Time
	most  atomic.Int64
	now   atomic.Int64
	wait  time.Duration
}

func (ix *index) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return func(yield func(ipni.Result, error) bool) {
		ix.mu.Lock()
		ix.asked = append(ix.asked, time.Now())
		ix.mu.Unlock()
		defer ix.now.Add(-1)
		ix.most.Store(max(ix.most.Load(), ix.now.Add(1)))
		if ix.wait > 0 {
			select {
			case <-time.After(ix.wait):
			case <-ctx.Done():
				yield(ipni.Result{}, ctx.Err())
				return
			}
		}
		for _, n := range ix.found[string(mh)] {
			if !yield(ipni.Result{Provider: peer.AddrInfo{ID: peer.ID(fmt.Sprint(n))}}, nil) {
				return
			}
		}
		if err := ix.fail[string(mh)]; err != nil {
			yield(ipni.Result{}, err)
		}
	}
}

func hash(n int) multihash.Multihash {
	mh, err := multihash.Sum(fmt.Appendf(nil, "content %d", n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh
}

func hashes(numbers ...int) iter.Seq2[multihash.Multihash, error] {
	return func(yield func(multihash.Multihash, error) bool) {
		for _, n := range numbers {
			if n < 0 {
				yield(nil, errGone)
				return
			}
			if !yield(hash(n), nil) {
				return
			}
		}
	}
}

func newIndex(found map[int][]int, fail map[int]error) *index {
	ix := &index{found: map[string][]int{}, fail: map[string]error{}}
	for n, providers := range found {
		ix.found[string(hash(n))] = providers
	}
	for n, err := range fail {
		ix.fail[string(hash(n))] = err
	}
	return ix
}

func TestReads(t *testing.T) {
	ours := newIndex(map[int][]int{0: {1, 2}, 1: {1}, 2: {1}, 5: {1}, 7: {7}, 8: {1}}, map[int]error{6: errGone, 8: ipni.ErrIncomplete})
	theirs := newIndex(map[int][]int{0: {1, 2, 3}, 1: {4}, 3: {1}, 4: {2, 2}, 6: {1}, 7: {7}, 8: {1}}, map[int]error{5: errGone, 7: ipni.ErrIncomplete, 9: ipni.ErrIncomplete})
	got, err := coverage.CompareReads(t.Context(), ours, theirs, hashes(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0), &coverage.Options{Rate: -1})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Missing)
	missing := []string{hash(3).B58String(), hash(4).B58String()}
	slices.Sort(missing)
	// 5, 6 and 9 have no answer from one. 0 counts twice.
	want := coverage.Reads{
		Asked: 9, Failed: 3, Ours: 6, Theirs: 7, Both: 5,
		Coverage: 5.0 / 7, Reverse: 5.0 / 6, NotFoundOurs: 3.0 / 9, NotFoundTheirs: 2.0 / 9,
		Results: 11, ResultsBoth: 6, ResultCoverage: 6.0 / 11, Missing: missing,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(coverage.Reads{}, "Failures")); diff != "" {
		t.Error(diff)
	}
	if len(got.Failures) != 3 {
		t.Errorf("%q", got.Failures)
	}
	empty, err := coverage.CompareReads(t.Context(), ours, theirs, hashes(), nil)
	if diff := cmp.Diff(coverage.Reads{Coverage: 1, Reverse: 1, ResultCoverage: 1}, empty); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if _, err := coverage.CompareReads(t.Context(), ours, theirs, hashes(0, -1), nil); !errors.Is(err, errGone) {
		t.Errorf("input that fails: %v", err)
	}
}

// TestAdd: parts add up to the whole, and examples do not grow without bound.
func TestAdd(t *testing.T) {
	ours, theirs := newIndex(nil, nil), newIndex(map[int][]int{0: {1}, 1: {1}, 2: {1}, 3: {1}}, map[int]error{4: errGone})
	var sum coverage.Reads
	for _, part := range []iter.Seq2[multihash.Multihash, error]{hashes(0, 1), hashes(2, 3), hashes(4)} {
		r, err := coverage.CompareReads(t.Context(), ours, theirs, part, &coverage.Options{Rate: -1})
		if err != nil {
			t.Fatal(err)
		}
		sum.Add(r, 3)
	}
	if sum.Asked != 4 || sum.Theirs != 4 || sum.Failed != 1 || sum.NotFoundOurs != 1 || sum.Coverage != 0 || len(sum.Missing) != 3 || len(sum.Failures) != 1 {
		t.Errorf("%+v", sum)
	}
}

// TestPace: no more lookups at a time, and a second, than was allowed; and what takes too long
// is a failure.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newIndex(nil, nil), newIndex(nil, nil)
		theirs.wait = time.Second
		all := make([]int, 40)
		begun := time.Now()
		if _, err := coverage.CompareReads(t.Context(), ours, theirs, hashes(all...), &coverage.Options{Concurrency: 4, Rate: -1}); err != nil {
			t.Fatal(err)
		}
		if theirs.most.Load() != 4 || time.Since(begun) != 10*time.Second {
			t.Errorf("%d at a time, %v", theirs.most.Load(), time.Since(begun))
		}
		begun = time.Now()
		if _, err := coverage.CompareReads(t.Context(), ours, theirs, hashes(all...), &coverage.Options{Rate: 2}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("40 at 2 a second took %v", took)
		}
		theirs.wait = time.Hour
		r, err := coverage.CompareReads(t.Context(), ours, theirs, hashes(0), &coverage.Options{Timeout: time.Minute})
		if err != nil || r.Failed != 1 || r.Asked != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err = coverage.CompareReads(ctx, ours, theirs, hashes(0, 0), &coverage.Options{Concurrency: 1})
		if !errors.Is(err, context.DeadlineExceeded) || r.Failed != 0 {
			t.Errorf("cancelled: %+v, %v", r, err)
		}
	})
}

// A quarter of what the other index finds is not found here.
func ExampleCompareReads() {
	ours := newIndex(map[int][]int{0: {1}, 1: {1}, 2: {1}}, nil)
	theirs := newIndex(map[int][]int{0: {1}, 1: {1}, 2: {1}, 3: {1}}, nil)
	r, err := coverage.CompareReads(context.Background(), ours, theirs, hashes(0, 1, 2, 3, 4), &coverage.Options{Rate: -1})
	fmt.Println(r.Coverage, r.NotFoundOurs, r.NotFoundTheirs, err)
	// Output: 0.75 0.4 0.2 <nil>
}

// sealed is an index by second hash.
type sealed map[dhash.Key][]string

func (s sealed) ValueKeys(_ context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		buffer := make([]byte, 0, 8) // values are valid until the next one
		for _, v := range s[key] {
			if v == "broken" {
				yield(nil, errors.New("broken"))
				return
			}
			if buffer = append(buffer[:0], v...); !yield(buffer, nil) {
				return
			}
		}
	}
}

func (s sealed) SealedMetadata(context.Context, dhash.MetadataKey) ([]byte, error) {
	return nil, fs.ErrNotExist
}

// TestCompareSealed counts what two indexes have under second hashes.
func TestCompareSealed(t *testing.T) {
	ours := sealed{{1}: {"a", "b"}, {2}: {"a"}, {3}: nil, {4}: {"c"}, {5}: {"broken"}, {6}: {"x"}}
	theirs := sealed{{1}: {"b", "a", "d"}, {2}: nil, {3}: nil, {4}: {"d"}, {5}: {"a"}, {7}: {"a"}}
	keys := func(yield func(dhash.Key, error) bool) {
		for n := range byte(7) {
			if !yield(dhash.Key{n + 1}, nil) {
				return
			}
		}
	}
	got, err := coverage.CompareSealed(t.Context(), ours, theirs, keys, &coverage.Options{Rate: -1})
	if err != nil {
		t.Fatal(err)
	}
	want := coverage.Reads{
		Asked: 6, Failed: 1, Ours: 4, Theirs: 3, Both: 2, Coverage: 2.0 / 3, Reverse: 0.5, NotFoundOurs: 2.0 / 6, NotFoundTheirs: 0.5,
		Results: 5, ResultsBoth: 2, ResultCoverage: 0.4, Missing: []string{dhash.Key{7}.Multihash().B58String()}, Failures: []string{"here: broken"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
