package registry

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// meeting holds back everybody who has read a row until a number of others have too: what a lock
// that they do not share does not prevent.
type meeting struct {
	kv.Store
	all map[byte]*sync.WaitGroup // by the kind of the row
}

func (m meeting) Get(ctx context.Context, key []byte) ([]byte, error) {
	b, err := m.Store.Get(ctx, key)
	m.all[key[1]].Done()
	m.all[key[1]].Wait()
	return b, err
}

func (m meeting) Update(ctx context.Context, key []byte, f func([]byte) ([]byte, error)) error {
	met := false
	return m.Store.Update(ctx, key, func(old []byte) ([]byte, error) {
		if !met {
			met = true
			m.all[key[1]].Done()
		}
		return f(old)
	})
}

// change is what the advertisement of an order says.
func change(order int) Change {
	return Change{
		Provider: ipnitest.ID(1), Order: uint64(order), Addrs: []multiaddr.Multiaddr{addr(order)}, Advertisement: testCID(order),
		Extended: &Set{ContextID: "context", Providers: extended(byte(order))},
	}
}

// Nodes that follow publishers of the same provider share no lock. What the newest advertisement
// says stays, in whatever order they write.
func TestNodesThatShareAProvider(t *testing.T) {
	store := memkv.New()
	for round := range 20 {
		var done sync.WaitGroup
		const nodes = 4
		read := map[byte]*sync.WaitGroup{kindProvider: {}, kindSet: {}}
		for _, r := range read {
			r.Add(nodes)
		}
		for n := range nodes {
			done.Go(func() {
				order := round*nodes + n + 1
				ops, err := NewShared(meeting{store, read}).Apply(t.Context(), change(order))
				if err == nil {
					err = store.Batch(t.Context(), ops)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		last := (round + 1) * nodes
		p := provider(t, store, ipnitest.ID(1))
		if p.LastAdvertisement != testCID(last) || !p.Addrs[0].Equal(addr(last)) {
			t.Fatalf("round %d: %v, %v", round, p.LastAdvertisement, p.Addrs)
		}
		if all := sets(t, store, ipnitest.ID(1)); len(all) != 1 || all[0].Providers[0].ID != ipnitest.ID(byte(last)) {
			t.Fatalf("round %d: %v", round, all)
		}
	}
}

// A shared registry keeps the same rows as one that is not.
func TestSharedIsTheSame(t *testing.T) {
	one, shared := memkv.New(), memkv.New()
	lag := 3
	for _, c := range []Change{
		change(5), change(3), {Provider: ipnitest.ID(1), Lag: &lag}, change(7), change(7),
		{Provider: ipnitest.ID(1), Order: 9, Extended: &Set{ContextID: "context"}}, {Provider: ipnitest.ID(2), Lag: &lag}, change(8),
	} {
		apply(t, one, c)
		if ops, err := NewShared(shared).Apply(t.Context(), c); err != nil || len(ops) > 0 {
			t.Fatalf("%d operations, %v", len(ops), err)
		}
		if diff := cmp.Diff(rows(t, one), rows(t, shared)); diff != "" {
			t.Fatal(diff)
		}
	}
	if _, err := NewShared(shared).Apply(t.Context(), Change{}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("no provider: %v", err)
	}
}

func rows(t *testing.T, s kv.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for p, err := range s.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		all[string(p.Key)] = string(p.Value)
	}
	return all
}
