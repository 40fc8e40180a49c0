package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/verify"
)

var byString = cmp.Comparer(func(a, b cid.Cid) bool { return a == b })

// modes calls f for a store of each mode.
func modes(t *testing.T, f func(t *testing.T, compact bool)) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact=%t", compact), func(t *testing.T) { f(t, compact) })
	}
}

// TestWhole: what was ingested is found whole, whatever was removed, updated or empty.
func TestWhole(t *testing.T) {
	modes(t, func(t *testing.T, compact bool) {
		p := newPublisher(1)
		p.add(t, "a", 0, 10)
		p.extend(t, ad.Ad{ContextID: []byte("a"), Metadata: metadata(1)})
		p.add(t, "b", 10, 15)
		p.extend(t, ad.Ad{ContextID: []byte("b"), Remove: true})
		p.add(t, "c", 5, 8)
		p.add(t, "b", 20, 22)
		n := ingested(t, p, compact)
		got, found := n.verify(t, verify.Options{})
		want := verify.Report{Publisher: p.ID, Ads: 6, Held: 3, Skipped: 1, Multihashes: 15, Checked: 15, Metadata: 3}
		if diff := cmp.Diff(want, got); diff != "" || len(found) > 0 || got.Damaged() || !got.Whole() {
			t.Errorf("%s\nfound %v", diff, found)
		}
		// A removal that comes later than the segment of the addition.
		p.extend(t, ad.Ad{ContextID: []byte("c"), Remove: true})
		n.sync(t)
		want.Ads, want.Held, want.Removed, want.Multihashes, want.Checked, want.Metadata = 7, 2, 1, 12, 12, 2
		got, found = n.verify(t, verify.Options{})
		if diff := cmp.Diff(want, got); diff != "" || len(found) > 0 {
			t.Errorf("after a removal: %s\nfound %v", diff, found)
		}
		if err := n.ingester.Remove(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		got, found = n.verify(t, verify.Options{})
		if got.Held != 0 || got.Checked != 0 || got.Metadata != 0 || got.Removed != 6 || len(found) > 0 {
			t.Errorf("after the provider was removed: %+v, found %v", got, found)
		}
	})
}

// TestMissing breaks a store, sees that told, and repairs it.
func TestMissing(t *testing.T) {
	modes(t, func(t *testing.T, compact bool) {
		p := newPublisher(1)
		first, _ := p.add(t, "a", 0, 10)
		second, _ := p.add(t, "b", 10, 30)
		third, _ := p.add(t, "c", 30, 40)
		n := ingested(t, p, compact)
		n.damage(t, n.group(t, first, "a"), 4)
		n.damage(t, n.group(t, second, "b"), 11, 12, 13, 20, 21, 22, 29)
		if err := n.PutMetadata(t.Context(), ipni.Context{Provider: p.ID, ID: "a"}, nil); err != nil {
			t.Fatal(err)
		}
		if err := n.PutMetadata(t.Context(), ipni.Context{Provider: p.ID, ID: "c"}, metadata(7)); err != nil {
			t.Fatal(err)
		}
		// The chunk written last, whose multihashes are the last ones, is read first.
		want := []verify.Finding{
			{Ad: third, Provider: p.ID, ContextID: []byte("c"), Checked: 10, Metadata: "other"},
			{Ad: second, Provider: p.ID, ContextID: []byte("b"), Checked: 20, Missing: 7, Examples: texts(29, 22, 20, 21)},
			{Ad: first, Provider: p.ID, ContextID: []byte("a"), Checked: 10, Missing: 1, Examples: texts(4), Metadata: "missing"},
		}
		got, found := n.verify(t, verify.Options{})
		if diff := cmp.Diff(want, found, byString); diff != "" {
			t.Error(diff)
		}
		if got.Missing != 8 || got.MetadataMissing != 2 || got.Repaired != 0 || !got.Damaged() {
			t.Errorf("%+v", got)
		}
		got, _ = n.verify(t, verify.Options{Repair: n.Store, Hold: n.ingester.Hold})
		if got.Missing != 8 || got.Repaired != 3 || got.Damaged() {
			t.Errorf("while repairing: %+v", got)
		}
		if got, found = n.verify(t, verify.Options{}); got.Missing+got.MetadataMissing != 0 || len(found) > 0 {
			t.Errorf("after the repair: %+v, %v", got, found)
		}
	})
}

func texts(which ...int) (all []string) {
	for _, i := range which {
		all = append(all, ipnitest.Hash(i).B58String())
	}
	return all
}

// TestLargeBlock: all of a block is checked, in parts and at the same time.
func TestLargeBlock(t *testing.T) {
	p := newPublisher(1)
	root, block, err := ad.EncodeChunk(ipnitest.Hashes(0, 5000), cid.Undef)
	if err != nil {
		t.Fatal(err)
	}
	p.Put(root, block)
	c := p.extend(t, ad.Ad{ContextID: []byte("a"), Metadata: metadata(0), Entries: root})
	n := ingested(t, p, false)
	n.damage(t, n.group(t, c, "a"), 0, 1023, 1024, 2500, 4999)
	got, found := n.verify(t, verify.Options{Workers: 3})
	if got.Checked != 5000 || got.Missing != 5 || len(found) != 1 {
		t.Errorf("%+v, found %v", got, found)
	}
	if diff := cmp.Diff(texts(0, 1023, 1024, 2500), found[0].Examples); diff != "" {
		t.Error(diff)
	}
}

// TestBadEntries: of an advertisement that was skipped for its entries nothing is wanted.
func TestBadEntries(t *testing.T) {
	p := newPublisher(1)
	junk := []byte("junk")
	sum, err := multihash.Sum(junk, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	next := cid.NewCidV1(cid.DagJSON, sum)
	root, block, err := ad.EncodeChunk(ipnitest.Hashes(0, 5), next)
	if err != nil {
		t.Fatal(err)
	}
	p.Put(next, junk)
	p.Put(root, block)
	c := p.extend(t, ad.Ad{ContextID: []byte("a"), Metadata: metadata(0), Entries: root})
	n := ingested(t, p, false)
	n.damage(t, n.group(t, c, "a"), 0, 1)
	if got, found := n.verify(t, verify.Options{}); got.Skipped != 1 || got.Checked != 0 || len(found) > 0 {
		t.Errorf("%+v, found %v", got, found)
	}
}

// racing is a store in which something is removed just when it was found missing.
type racing struct {
	verify.Store
	remove func()
}

func (r racing) Check(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) iter.Seq2[multihash.Multihash, error] {
	r.remove()
	return r.Store.Check(ctx, g, mhs)
}

// TestRemovedMeanwhile: what is removed while it is looked for is neither missing nor
// put back.
func TestRemovedMeanwhile(t *testing.T) {
	p := newPublisher(1)
	p.add(t, "a", 0, 2)
	n := ingested(t, p, false)
	s := racing{n.Store, func() {
		p.extend(t, ad.Ad{ContextID: []byte("a"), Remove: true})
		n.sync(t)
	}}
	got, err := verify.Run(t.Context(), p.ID, p, n.rows, s, &verify.Options{Repair: n.Store, Hold: n.ingester.Hold})
	if err != nil || got.Missing != 0 || got.Repaired != 0 || got.Checked != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	for c, err := range n.Contexts(t.Context(), ipnitest.Hash(0)) {
		t.Errorf("what was removed is there again: %v, %v", c, err)
	}
}

// TestUnread: what a publisher no longer has is told, and the rest is checked.
func TestUnread(t *testing.T) {
	p := newPublisher(1)
	oldest, _ := p.add(t, "a", 0, 2)
	p.add(t, "b", 2, 4)
	lost, entries := p.add(t, "c", 4, 6)
	p.add(t, "d", 6, 8)
	n := ingested(t, p, false)
	p.Lose(entries)
	p.Lose(oldest)
	got, found := n.verify(t, verify.Options{})
	if got.Ads != 3 || got.Checked != 4 || got.Unread != 1 || got.Ended == "" || got.Whole() || got.Missing != 0 {
		t.Errorf("%+v", got)
	}
	if len(found) != 1 || found[0].Ad != lost || found[0].Cause == "" {
		t.Errorf("found %v", found)
	}
}

// TestNotIngested: what ingestion has not read is not missing, and its place in the chain
// is passed over.
func TestNotIngested(t *testing.T) {
	p := newPublisher(1)
	p.add(t, "a", 0, 2)
	n := ingested(t, p, false)
	gone, _ := p.add(t, "b", 2, 4)
	p.add(t, "c", 4, 6)
	p.Lose(gone)
	_ = n.ingester.Sync(t.Context(), peer.AddrInfo{ID: p.ID}, nil) // it fails below c
	before := p.count(gone)
	got, found := n.verify(t, verify.Options{})
	if got.Ads != 2 || got.Held != 2 || got.Checked != 4 || !got.Whole() || len(found) > 0 {
		t.Errorf("%+v, found %v", got, found)
	}
	if after := p.count(gone); after != before {
		t.Error("what is not ingested was fetched")
	}
	// A gap that could never be read is forgotten in the end.
	gaps, err := n.rows.Gaps(t.Context(), p.ID)
	if err != nil || len(gaps) != 1 {
		t.Fatalf("%d gaps, %v", len(gaps), err)
	}
	if err := n.rows.Batch(t.Context(), state.DropGap(p.ID, gaps[0].Seq)); err != nil {
		t.Fatal(err)
	}
	if got, _ := n.verify(t, verify.Options{}); got.Ads != 1 || !got.Whole() {
		t.Errorf("without the gap: %+v", got)
	}
}

// TestSample: a sample is of the size that was asked for, meets damage in proportion, and
// does not fetch what it passes over.
func TestSample(t *testing.T) {
	p := newPublisher(1)
	var roots []cid.Cid
	for i := range 200 {
		_, root := p.add(t, fmt.Sprint(i), 5*i, 5*i+5)
		roots = append(roots, root)
	}
	n := ingested(t, p, false)
	before := 0
	for _, root := range roots {
		before += p.count(root)
	}
	var checked, fetched int64
	const rounds, share = 40, 0.05
	for range rounds {
		got, found := n.verify(t, verify.Options{Sample: share})
		if got.Multihashes != 1000 || got.Held != 200 || len(found) > 0 {
			t.Fatalf("%+v, found %v", got, found)
		}
		checked += got.Checked
	}
	for _, root := range roots {
		fetched += int64(p.count(root))
	}
	fetched -= int64(before)
	// 2,000 are expected, with a deviation of 44.
	if math.Abs(float64(checked)-1000*rounds*share) > 6*44 {
		t.Errorf("%d of %d multihashes checked, want about %v", checked, 1000*rounds, 1000*rounds*share)
	}
	// An advertisement of five is met with a probability of 1-0.95^5 = 0.226.
	if fetched > 200*rounds*3/10 {
		t.Errorf("the entries of %d of %d advertisements were fetched", fetched, 200*rounds)
	}
}

// TestOver checks by lookups alone.
func TestOver(t *testing.T) {
	p := newPublisher(1)
	c, _ := p.add(t, "a", 0, 10)
	n := ingested(t, p, false)
	n.damage(t, n.group(t, c, "a"), 3)
	other := ipni.Group{Context: ipni.Context{Provider: p.ID, ID: "other"}, Epoch: 1}
	if err := n.Put(t.Context(), other, ipnitest.Hashes(3, 4)); err != nil {
		t.Fatal(err)
	}
	got, err := verify.Run(t.Context(), p.ID, p, n.rows, verify.Over(n.Store), nil)
	if err != nil || got.Missing != 1 || got.Checked != 10 || got.Metadata != 1 || got.MetadataMissing != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// broken is a store that fails.
type broken struct{ verify.Store }

var errBroken = errors.New("the disk is gone")

func (broken) Check(context.Context, ipni.Group, ipni.Multihashes) iter.Seq2[multihash.Multihash, error] {
	return func(yield func(multihash.Multihash, error) bool) { yield(nil, errBroken) }
}

func TestFailures(t *testing.T) {
	p := newPublisher(1)
	p.add(t, "a", 0, 2)
	n := ingested(t, p, false)
	if _, err := verify.Run(t.Context(), p.ID, p, n.rows, broken{n.Store}, nil); !errors.Is(err, errBroken) {
		t.Errorf("a store that fails: %v", err)
	}
	if _, err := verify.Run(t.Context(), newPublisher(2).ID, p, n.rows, n.Store, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unknown publisher: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verify.Run(ctx, p.ID, p, n.rows, n.Store, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled walk: %v", err)
	}
}
