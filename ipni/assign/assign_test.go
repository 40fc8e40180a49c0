package assign_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/kv/pebblekv"
	"github.com/hashstream/hashstream/kv/pgkv"
)

// publisher returns a peer id by number.
func publisher(n int) peer.ID {
	mh, err := multihash.Sum(fmt.Append(nil, n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return peer.ID(mh)
}

// linked is a store of keys that can be cut off.
type linked struct {
	kv.Store
	cut atomic.Bool
}

var errCut = errors.New("no store of keys")

func (s *linked) Get(ctx context.Context, key []byte) ([]byte, error) {
	if s.cut.Load() {
		return nil, errCut
	}
	return s.Store.Get(ctx, key)
}

func (s *linked) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	if s.cut.Load() {
		return func(yield func(kv.Pair, error) bool) { yield(kv.Pair{}, errCut) }
	}
	return s.Store.Scan(ctx, r)
}

func (s *linked) Update(ctx context.Context, key []byte, f func([]byte) ([]byte, error)) error {
	if s.cut.Load() {
		return errCut
	}
	return s.Store.Update(ctx, key, f)
}

// slow is a duration that changes while it is used.
type slow struct{ atomic.Int64 }

func (s *slow) is() time.Duration   { return time.Duration(s.Load()) }
func (s *slow) set(d time.Duration) { s.Store(int64(d)) }

// world is nodes that follow publishers, and what they must never do.
type world struct {
	t        testing.TB
	store    kv.Store
	timing   cluster.Timing
	replicas int
	segment  slow // how long work takes to notice that it is to yield
	dying    slow // how long it takes to stop

	mu     sync.Mutex
	active map[peer.ID]map[string]uint64 // publisher → node → token
	tokens map[peer.ID]uint64
	starts int
}

func newWorld(t testing.TB, store kv.Store, replicas int) *world {
	w := &world{t: t, store: store, replicas: replicas, active: map[peer.ID]map[string]uint64{}, tokens: map[peer.ID]uint64{}}
	w.segment.set(time.Second)
	return w
}

type node struct {
	*linked
	id      string
	session *cluster.Session
	a       *assign.Assigner
	stop    func()
}

func (w *world) node(id string) *node {
	w.t.Helper()
	n := &node{linked: &linked{Store: w.store}, id: id}
	members := cluster.NewMembers(n.linked, w.timing)
	var err error
	n.session, err = members.Join(w.t.Context(), cluster.Member{ID: id, Roles: []string{cluster.RoleIngest}})
	must(w.t, err)
	n.a = assign.New(n.linked, members, n.session, &assign.Options{Replicas: w.replicas})
	ctx, cancel := context.WithCancel(w.t.Context())
	var all sync.WaitGroup
	all.Go(func() { n.session.Run(ctx) })
	all.Go(func() { n.a.Run(ctx, func(ctx context.Context, l *assign.Lease) { w.work(ctx, id, l) }) })
	n.stop = func() { cancel(); all.Wait() }
	return n
}

func (w *world) work(ctx context.Context, id string, l *assign.Lease) {
	w.mu.Lock()
	if w.active[l.Publisher] == nil {
		w.active[l.Publisher] = map[string]uint64{}
	}
	if _, twice := w.active[l.Publisher][id]; twice {
		w.t.Errorf("%s works twice for %s", id, l.Publisher)
	}
	w.active[l.Publisher][id] = l.Token
	if l.Token <= w.tokens[l.Publisher] && w.replicas == 1 {
		w.t.Errorf("token %d after %d", l.Token, w.tokens[l.Publisher])
	}
	w.tokens[l.Publisher] = l.Token
	if n := len(w.active[l.Publisher]); n > w.replicas {
		w.t.Errorf("%d work for %s at a time: %v", n, l.Publisher, w.active[l.Publisher])
	}
	w.starts++
	w.mu.Unlock()
	select {
	case <-ctx.Done():
		time.Sleep(w.dying.is())
	case <-l.Yield().Done():
		select { // the segment is ended
		case <-ctx.Done():
			time.Sleep(w.dying.is())
		case <-time.After(w.segment.is()):
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.active[l.Publisher], id)
}

// shares returns how many publishers each node works for, and how many have all the
// followers that they should.
func (w *world) shares() (byNode map[string]int, complete int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	byNode = map[string]int{}
	for _, nodes := range w.active {
		for id := range nodes {
			byNode[id]++
		}
		if len(nodes) == w.replicas {
			complete++
		}
	}
	return byNode, complete
}

// count returns how often work was started.
func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.starts
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// balanced fails unless n publishers are followed, by nodes with the same work give or take one.
func (w *world) balanced(publishers, nodes int) {
	w.t.Helper()
	shares, complete := w.shares()
	counts := slices.Sorted(maps.Values(shares))
	if complete != publishers || len(shares) != nodes || counts[len(counts)-1]-counts[0] > 1 {
		w.t.Fatalf("%d of %d publishers are followed, by %v", complete, publishers, shares)
	}
}

func (w *world) publishers(n int) *assign.Table {
	w.t.Helper()
	table := assign.NewTable(w.store)
	for i := range n {
		must(w.t, table.Add(w.t.Context(), publisher(i)))
	}
	return table
}

func TestJoinLeaveDeath(t *testing.T) {
	for _, replicas := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, memkv.New(), replicas)
			const publishers = 50
			w.publishers(publishers)
			nodes := map[string]*node{}
			defer func() {
				for _, n := range nodes {
					n.stop()
				}
			}()
			for _, id := range []string{"a", "b"} {
				nodes[id] = w.node(id)
			}
			time.Sleep(30 * time.Second)
			w.balanced(publishers, 2)
			starts := w.count()

			nodes["c"] = w.node("c") // joins
			time.Sleep(2 * time.Minute)
			w.balanced(publishers, 3)
			if moved := w.count() - starts; moved > publishers*replicas*45/100 {
				t.Errorf("%d leases moved for a third of %d", moved, publishers*replicas)
			}
			starts = w.count()
			time.Sleep(10 * time.Minute)
			if w.count() != starts {
				t.Errorf("%d leases moved although nothing changed", w.count()-starts)
			}

			nodes["a"].stop() // leaves
			delete(nodes, "a")
			time.Sleep(2 * time.Minute)
			w.balanced(publishers, 2)

			nodes["b"].cut.Store(true) // is partitioned away, and works on for as long as it may
			w.dying.set(4 * time.Second)
			time.Sleep(2 * time.Minute)
			if replicas == 1 {
				w.balanced(publishers, 1)
			}
			if len(nodes["b"].a.Held()) != 0 {
				t.Error("b holds leases")
			}
			nodes["b"].cut.Store(false)
			time.Sleep(2 * time.Minute)
			w.balanced(publishers, 2)
		})
	}
}

func TestFreezeAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memkv.New(), 1)
		const publishers = 20
		w.publishers(publishers)
		a, b := w.node("a"), w.node("b")
		defer b.stop()
		defer a.stop()
		time.Sleep(time.Minute)
		w.balanced(publishers, 2)
		w.segment.set(7 * time.Second)
		for _, set := range []func(*cluster.Member){
			func(m *cluster.Member) { m.Frozen = true },
			func(m *cluster.Member) { m.Frozen, m.Draining = false, true },
		} {
			must(t, a.session.Set(t.Context(), set))
			time.Sleep(time.Minute)
			w.balanced(publishers, 1)
			if len(a.a.Held()) != 0 {
				t.Fatal("a holds leases")
			}
		}
		// When all are frozen, somebody still has to see what is removed.
		must(t, a.session.Set(t.Context(), func(m *cluster.Member) { m.Draining, m.Frozen = false, true }))
		must(t, b.session.Set(t.Context(), func(m *cluster.Member) { m.Frozen = true }))
		time.Sleep(2 * time.Minute)
		w.balanced(publishers, 2)
	})
}

func TestByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memkv.New(), 1)
		table := w.publishers(10)
		for i := 10; i < 20; i++ {
			must(t, table.Add(t.Context(), publisher(i), "b"))
		}
		a := w.node("a")
		defer a.stop()
		time.Sleep(time.Minute) // in which it follows all
		b := w.node("b")
		defer b.stop()
		holder := func(n int) string {
			p, err := table.Publisher(t.Context(), publisher(n))
			must(t, err)
			if len(p.Leases) != 1 {
				return ""
			}
			return p.Leases[0].Holder
		}
		time.Sleep(time.Minute)
		for i := 10; i < 20; i++ {
			if holder(i) != "b" {
				t.Errorf("publisher %d is followed by %q, not by the one that has its data", i, holder(i))
			}
		}
		must(t, table.Assign(t.Context(), publisher(0), "b"))
		must(t, table.Unassign(t.Context(), publisher(10), "b"))
		time.Sleep(time.Minute)
		if holder(0) != "b" || holder(10) != "a" {
			t.Fatalf("assigned to %q and %q", holder(0), holder(10))
		}
		must(t, table.Assign(t.Context(), publisher(0), "a"))
		must(t, table.Free(t.Context(), publisher(0), "b"))
		must(t, table.Unassign(t.Context(), publisher(10), "a"))
		time.Sleep(time.Minute)
		if holder(0) != "a" || holder(10) != "" {
			t.Fatalf("assigned to %q and %q", holder(0), holder(10))
		}
		must(t, table.Free(t.Context(), publisher(10), "b"))
		must(t, table.Remove(t.Context(), publisher(0)))
		time.Sleep(time.Minute)
		if shares, complete := w.shares(); complete != 19 || holder(10) != "b" {
			t.Fatalf("%d are followed: %v", complete, shares)
		}
		if err := table.Unassign(t.Context(), publisher(99), "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := table.Assign(t.Context(), publisher(1), "a b"); !errors.Is(err, fs.ErrInvalid) {
			t.Fatal(err)
		}
		if err := table.Add(t.Context(), "no id"); err == nil {
			t.Log("peer ids are not checked beyond being there")
		}
	})
}

// A process that is killed and comes back at once goes on with its leases, with new tokens.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memkv.New(), 1)
		w.publishers(10)
		a := w.node("a")
		time.Sleep(10 * time.Second)
		a.cut.Store(true) // so that it frees nothing
		a.stop()
		if shares, _ := w.shares(); len(shares) != 0 {
			t.Fatal(shares)
		}
		a = w.node("a")
		defer a.stop()
		time.Sleep(5 * time.Second)
		w.balanced(10, 1)
	})
}

// Nodes come, go, freeze and are cut off at random; never do more work for a publisher than
// should, and in the end all is balanced.
func TestRandomly(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t, memkv.New(), 1+int(seed)%2)
			w.dying.set(4900 * time.Millisecond) // just under a third of the TTL
			w.segment.set(5 * time.Second)
			const publishers = 30
			w.publishers(publishers)
			nodes := map[string]*node{}
			defer func() {
				for _, n := range nodes {
					n.stop()
				}
			}()
			for range 150 {
				id := string(rune('a' + rnd.IntN(5)))
				n := nodes[id]
				switch {
				case n == nil:
					nodes[id] = w.node(id)
				case rnd.IntN(3) == 0:
					n.stop()
					delete(nodes, id)
				case rnd.IntN(2) == 0:
					n.cut.Store(!n.cut.Load())
				default:
					n.session.Set(t.Context(), func(m *cluster.Member) { m.Frozen = !m.Frozen })
				}
				time.Sleep(time.Duration(rnd.Int64N(int64(20 * time.Second))))
			}
			for _, id := range []string{"a", "b", "c", "d", "e"} {
				if nodes[id] == nil {
					nodes[id] = w.node(id)
				}
				nodes[id].cut.Store(false)
				time.Sleep(5 * time.Second)
				must(t, nodes[id].session.Set(t.Context(), func(m *cluster.Member) { m.Frozen = false }))
			}
			time.Sleep(5 * time.Minute)
			w.balanced(publishers, 5)
			for _, n := range nodes {
				n.stop()
			}
			nodes = nil
			if shares, _ := w.shares(); len(shares) != 0 {
				t.Fatalf("still at work: %v", shares)
			}
		})
	}
}

func TestMalformedRows(t *testing.T) {
	store := memkv.New()
	table := assign.NewTable(store)
	for _, row := range []string{
		``, `null`, `{}`, `{"token":1,"leases":[{"holder":"a","token":2}]}`, `{"token":1,"more":1}`, `{"token":1} `,
		`{"token":2,"leases":[{"holder":"a","token":2},{"holder":"a","token":1}]}`, `{"token":1,"pinned":[""]}`,
	} {
		must(t, store.Batch(t.Context(), []kv.Op{kv.Put([]byte("Nap"+string(publisher(0))), []byte(row))}))
		if _, err := table.Publisher(t.Context(), publisher(0)); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%q: %v", row, err)
		}
	}
}

// What is accepted is written again as the same bytes.
func FuzzPublisher(f *testing.F) {
	f.Add([]byte(`{"token":7,"leases":[{"holder":"a","token":7}],"pinned":["a"],"barred":["b"],"preferred":["c"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		store := memkv.New()
		key := []byte("Nap" + string(publisher(0)))
		must(t, store.Batch(t.Context(), []kv.Op{kv.Put(key, b)}))
		table := assign.NewTable(store)
		p, err := table.Publisher(t.Context(), publisher(0))
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Fatal(err)
			}
			return
		}
		must(t, table.Add(t.Context(), p.ID))
		if got, err := store.Get(t.Context(), key); err != nil || cmp.Diff(string(b), string(got)) != "" {
			t.Fatalf("%q became %q, %v", b, got, err)
		}
	})
}

// The same over stores on disk and in a database, in the time of the clock on the wall.
func TestStores(t *testing.T) {
	stores := map[string]func(t *testing.T) kv.Store{
		"pebblekv": func(t *testing.T) kv.Store {
			s, err := pebblekv.Open(t.TempDir(), nil)
			must(t, err)
			t.Cleanup(func() { s.Close() })
			return s
		},
		"pgkv": func(t *testing.T) kv.Store {
			u := servertest.URL(t, "postgres")
			join := map[bool]string{true: "&", false: "?"}[strings.Contains(u, "?")]
			s, err := pgkv.Open(t.Context(), fmt.Sprintf("%s%stable=assign_%d", u, join, time.Now().UnixNano()), nil)
			must(t, err)
			t.Cleanup(func() { s.Close() })
			return s
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, open(t), 1)
			w.timing = cluster.Timing{TTL: 3 * time.Second}
			w.segment.set(0)
			const publishers = 12
			w.publishers(publishers)
			a, b := w.node("a"), w.node("b")
			defer b.stop()
			w.eventually(publishers, 2)
			c := w.node("c")
			defer c.stop()
			w.eventually(publishers, 3)
			a.cut.Store(true)
			defer a.stop()
			w.eventually(publishers, 2)
		})
	}
}

// eventually waits until the publishers are followed by so many nodes, all with equal shares.
func (w *world) eventually(publishers, nodes int) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for {
		shares, complete := w.shares()
		counts := slices.Sorted(maps.Values(shares))
		if complete == publishers && len(shares) == nodes && counts[nodes-1]-counts[0] <= 1 {
			return
		}
		select {
		case <-deadline:
			w.t.Fatalf("%d of %d publishers are followed, by %v", complete, publishers, shares)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
