package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

var errDown = errors.New("the machine is off")

// machine is stores that stop at a random write, before or after it, as kill -9 does.
type machine struct {
	kv.Store
	mu   sync.Mutex
	left int // writes until then, negative for none
	late bool
	down bool
}

func (m *machine) tick() (fail, apply bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return true, false
	}
	m.left--
	m.down = m.left == 0
	return m.down, !m.down || m.late
}

func (m *machine) Batch(ctx context.Context, ops []kv.Op) error {
	fail, apply := m.tick()
	if apply {
		if err := m.Store.Batch(ctx, ops); err != nil {
			return err
		}
	}
	if fail {
		return errDown
	}
	return nil
}

func (m *machine) isDown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

func (m *machine) boot(left int, late bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left, m.late, m.down = left, late, false
}

// randomChain extends the chain of p by n advertisements of two providers, which use
// the same context ids.
func randomChain(t *testing.T, r *rand.Rand, p *publisher, providers []peer.ID, n int) []cid.Cid {
	var chain []cid.Cid
	for range n {
		a := ad.Ad{Provider: providers[r.IntN(len(providers))], ContextID: fmt.Appendf(nil, "context %d", r.IntN(3))}
		var mhs []multihash.Multihash
		for range 1 + r.IntN(5) {
			mhs = append(mhs, hash(r.IntN(12)))
		}
		switch r.IntN(6) {
		case 0, 1:
			a.Remove = true
		case 2:
			a.Metadata = metadata(byte(r.IntN(100)))
		default:
			a.Metadata, a.Entries = metadata(byte(r.IntN(100))), p.entries(t, 2, mhs...)
		}
		chain = append(chain, p.extend(t, a))
	}
	return chain
}

// TestAnyOrder checks that a chain ends in the state that reading it in order gives,
// however it is announced, whatever cannot be read for a while, and wherever the node is
// killed.
func TestAnyOrder(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { anyOrder(t, uint64(seed)) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func anyOrder(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	p, other := newPublisher(1), newIdentity(2)
	m := &machine{Store: memkv.New(), left: -1}
	n := newNode(p)
	n.kv = m
	n.sink.fail = func(string) error {
		if fail, _ := m.tick(); fail {
			return errDown
		}
		return nil
	}
	o := &ingest.Options{
		Workers: 2, SegmentAds: 1 + r.IntN(5), StartSpread: time.Second, HeadInterval: time.Nanosecond,
		Slice: time.Duration(1 + r.IntN(1e9)), EntryTries: 2, MaxGaps: 1000,
		Policy: &policy.Options{Delegates: map[peer.ID][]peer.ID{other.id: {p.id}}},
	}
	boot := func() {
		m.boot(1+r.IntN(60), r.IntN(2) == 0)
		n.start(t, o)
	}
	boot()
	chain := randomChain(t, r, p, []peer.ID{p.id, other.id}, 40)
	var faults []cid.Cid
	spoil := func(c cid.Cid) {
		err := []error{nil, errors.New("timeout"), errMissing}[r.IntN(3)]
		p.fault(c, err)
		faults = append(faults, c)
	}
	for i := 0; i < len(chain); i += 1 + r.IntN(12) {
		p.setHead(chain[i])
		spoil(chain[r.IntN(i+1)])
		if r.IntN(3) == 0 {
			all := sortCIDs(keys(p.blocks))
			spoil(all[r.IntN(len(all))])
		}
		for !m.isDown() && n.Announce(t.Context(), p.head(), p.info()) != nil {
		}
		time.Sleep(time.Duration(r.IntN(1e10)))
		synctest.Wait()
		if len(faults) > 3 {
			p.fault(faults[0], nil)
			faults = faults[1:]
		}
		if m.isDown() {
			n.stop()
			boot()
		}
	}
	n.stop()
	for _, c := range faults {
		p.fault(c, nil)
	}
	p.setHead(chain[len(chain)-1])
	m.boot(-1, false)
	n.start(t, o)
	if r.IntN(4) == 0 {
		if err := n.Resync(t.Context(), p.id, uint64(r.IntN(50))); err != nil && !errors.Is(err, errMissing) {
			t.Logf("resync: %v", err)
		}
	}
	for range 60 {
		if err := n.Announce(t.Context(), p.head(), p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
	}
	if s := n.status(t, p); s.Lag != 0 || s.Missing || s.Head != p.head() {
		t.Errorf("status %+v", s)
	}
	if d := cmp.Diff(p.oracle(t, p.head()), n.sink.view()); d != "" {
		t.Errorf("view (-want +got):\n%s", d)
	}
	n.stop()
}
