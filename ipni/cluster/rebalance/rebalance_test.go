package rebalance_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/breaker"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/clustertest"
	"github.com/hashstream/hashstream/ipni/cluster/rebalance"
	"github.com/hashstream/hashstream/ipni/cluster/router"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// place is where the nodes of a cluster find each other.
type place struct {
	t     testing.TB
	kv    kv.Store
	notes int
	wrap  func(cluster.Node) cluster.Node
	opts  rebalance.Options

	mu    sync.Mutex
	nodes map[string]*node
}

// node is a member; it keeps its store when its process ends.
type node struct {
	id      string
	store   *clustertest.Store
	link    *clustertest.Link // to the process of now
	session *cluster.Session
	agent   *rebalance.Agent
	stop    func()
}

func newPlace(t testing.TB) *place {
	return &place{t: t, kv: memkv.New(), nodes: map[string]*node{}}
}

func (p *place) dial(m cluster.Member) (cluster.Node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.nodes[m.ID]; n != nil {
		if p.wrap != nil {
			return p.wrap(n.link), nil
		}
		return n.link, nil
	}
	return nil, clustertest.ErrCut
}

// start starts the process of a node, the first or another one.
func (p *place) start(id string) *node {
	p.t.Helper()
	members := cluster.NewMembers(p.kv, cluster.Timing{})
	session, err := members.Join(p.t.Context(), cluster.Member{ID: id, URL: fmt.Sprint(id, time.Now().UnixNano()), Roles: []string{cluster.RoleStore}})
	must(p.t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		n = &node{id: id, store: clustertest.NewStore()}
		p.nodes[id] = n
	}
	replica := rebalance.NewReplica(n.store, p.notes)
	n.link = clustertest.NewLink(replica)
	n.session = session
	opts := p.opts
	n.agent = rebalance.NewAgent(p.kv, members, session, replica, p.dial, &opts)
	ctx, cancel := context.WithCancel(p.t.Context())
	var all sync.WaitGroup
	all.Go(func() { session.Run(ctx) })
	all.Go(func() { n.agent.Run(ctx) })
	n.stop = func() { cancel(); all.Wait() }
	return n
}

// kill ends the process of a node.
func (p *place) kill(n *node) {
	n.link.Cut()
	n.stop()
}

func (p *place) close() {
	for _, n := range p.nodes {
		n.link.Break(clustertest.Fault{})
		n.stop()
	}
}

func (p *place) router() *router.Router {
	return router.New(p.kv, p.dial, &router.Options{Breaker: breaker.Options{MaxPause: 2 * time.Second}})
}

// settled reports whether all partitions have so many copies, all in sync, and nobody is to drop any.
func (p *place) settled(copies int) bool {
	p.t.Helper()
	rows, err := cluster.NewTable(p.kv).Load(p.t.Context())
	must(p.t, err)
	for _, row := range rows {
		if row.Count(cluster.Ready) != copies || len(row.Replicas) != copies || len(row.Leaving) > 0 {
			return false
		}
	}
	return true
}

func (p *place) wait(copies int) {
	p.t.Helper()
	for start := time.Now(); !p.settled(copies); time.Sleep(time.Second) {
		if time.Since(start) > time.Hour {
			rows, _ := cluster.NewTable(p.kv).Load(p.t.Context())
			for part, row := range rows {
				if row.Count(cluster.Ready) != copies || len(row.Replicas) != copies || len(row.Leaving) > 0 {
					p.t.Errorf("partition %02x: %+v", part, row)
				}
			}
			p.t.FailNow()
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keyOf returns the n-th key.
func keyOf(n int) dhash.Key { return dhash.Key(dhash.HashValueKey(fmt.Append(nil, "key ", n))) }

func group(context byte, epoch uint64) ipni.SealedGroup {
	return ipni.SealedGroup{Provider: ipni.ProviderTag{1}, Context: dhash.MetadataKey{context}, Epoch: epoch}
}

func one(key dhash.Key, value string) valuestore.Records {
	return valuestore.Records(nil).Append(key, []byte(value))
}

// values returns what is found under key, joined.
func values(ctx context.Context, r ipni.SealedReader, key dhash.Key) (all []string, err error) {
	for v, err := range r.ValueKeys(ctx, key) {
		if err != nil {
			return all, err
		}
		all = append(all, string(v))
	}
	return all, nil
}

func TestJoinDrainLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		p.opts.Window, p.opts.Batch = 5, 300
		defer p.close()
		p.start("a")
		p.wait(1)
		r := p.router()
		const keys = 700
		for i := range keys {
			must(t, r.PutSealed(t.Context(), group(byte(i%7), 1), one(keyOf(i), "value")))
			must(t, r.PutSealedMetadata(t.Context(), dhash.MetadataKey(keyOf(i)), []byte("metadata")))
		}
		p.start("b")
		p.start("c")
		time.Sleep(time.Minute)
		p.wait(2)
		check := func() {
			t.Helper()
			for i := range keys {
				if got, err := values(t.Context(), r, keyOf(i)); err != nil || len(got) != 1 {
					t.Fatalf("key %d: %q, %v", i, got, err)
				}
				if _, err := r.SealedMetadata(t.Context(), dhash.MetadataKey(keyOf(i))); err != nil {
					t.Fatal(err)
				}
			}
			records, metadata := 0, 0
			for _, n := range p.nodes {
				a, b := n.store.Len()
				records, metadata = records+a, metadata+b
			}
			if records != 2*keys || metadata != 2*keys {
				t.Fatalf("%d records and %d metadata on all nodes, want each twice", records, metadata)
			}
		}
		check()
		a := p.nodes["a"]
		must(t, a.session.Set(t.Context(), func(m *cluster.Member) { m.Draining = true }))
		time.Sleep(time.Minute)
		p.wait(2)
		if copies, err := a.agent.Copies(t.Context()); err != nil || len(copies) != 0 {
			t.Fatalf("a has %v, %v", copies, err)
		}
		check()
		p.kill(a)
		must(t, a.session.Leave(t.Context()))
		delete(p.nodes, "a")
		check()

		// One that died and comes back is repaired, and not trusted before.
		b := p.nodes["b"]
		p.kill(b)
		must(t, r.RemoveSealed(t.Context(), ipni.ProviderTag{1}, nil, 2))
		must(t, r.PutSealedMetadata(t.Context(), dhash.MetadataKey(keyOf(0)), nil))
		p.start("b")
		if got, err := values(t.Context(), p.router(), keyOf(1)); err != nil || len(got) != 0 {
			t.Fatalf("what was removed is found: %q, %v", got, err)
		}
		time.Sleep(time.Minute)
		p.wait(2)
		for _, n := range p.nodes {
			if records, metadata := n.store.Len(); records != 0 || metadata != keys-1 {
				t.Fatalf("%s has %d records and %d metadata", n.id, records, metadata)
			}
		}
	})
}

// model is what a writer knows of a record: that it is there, that it is not, or nothing.
type model int

const (
	unsure model = iota
	present
	absent
)

// writer puts and deletes records of keys of its own, one write at a time.
type writer struct {
	t      testing.TB
	r      *router.Router
	number int
	rnd    *rand.Rand

	records  map[dhash.Key]map[string]model // value → state; each value has a group of its own context
	metadata map[dhash.MetadataKey]model
	since    map[dhash.Key]time.Time // when something under the key was acknowledged last
	epoch    uint64
	acked    int
}

func newWriter(t testing.TB, r *router.Router, number int, seed uint64) *writer {
	w := &writer{t: t, r: r, number: number, rnd: rand.New(rand.NewPCG(seed, uint64(number))), records: map[dhash.Key]map[string]model{}, metadata: map[dhash.MetadataKey]model{}, since: map[dhash.Key]time.Time{}, epoch: 1}
	for i := range 30 {
		key := w.key(i)
		w.records[key] = map[string]model{"v0": absent, "v1": absent, "v2": absent}
		w.metadata[dhash.MetadataKey(key)] = absent
	}
	return w
}

func (w *writer) key(i int) dhash.Key { return keyOf(w.number*1000 + i) }

func (w *writer) group(value string) ipni.SealedGroup {
	return ipni.SealedGroup{Provider: ipni.ProviderTag{byte(w.number), 7}, Context: dhash.MetadataKey{value[1]}, Epoch: w.epoch}
}

// set notes how a write ended.
func (w *writer) set(err error, to model, apply func(model)) {
	if err != nil {
		to = unsure
	} else {
		w.acked++
	}
	apply(to)
}

// write does something.
func (w *writer) write(ctx context.Context) {
	key := w.key(w.rnd.IntN(30))
	value := fmt.Sprint("v", w.rnd.IntN(3))
	record := func(m model) { w.records[key][value], w.since[key] = m, time.Now() }
	metadata := func(m model) { w.metadata[dhash.MetadataKey(key)] = m }
	switch w.rnd.IntN(12) {
	default:
		record(unsure)
		w.set(w.r.PutSealed(ctx, w.group(value), one(key, value)), present, record)
	case 5, 6, 7, 8:
		record(unsure)
		// All that it may have been put with.
		var err error
		for e := uint64(1); e <= w.epoch; e++ {
			g := w.group(value)
			g.Epoch = e
			err = errors.Join(err, w.r.DeleteSealed(ctx, g, one(key, value)))
		}
		w.set(err, absent, record)
	case 9:
		metadata(unsure)
		w.set(w.r.PutSealedMetadata(ctx, dhash.MetadataKey(key), []byte("metadata")), present, metadata)
	case 10:
		metadata(unsure)
		w.set(w.r.PutSealedMetadata(ctx, dhash.MetadataKey(key), nil), absent, metadata)
	case 11:
		if w.rnd.IntN(5) > 0 || w.epoch > 6 {
			return
		}
		all := func(m model) {
			for _, values := range w.records {
				values[value] = m
			}
		}
		all(unsure)
		g := w.group(value)
		w.epoch++
		w.set(w.r.RemoveSealed(ctx, g.Provider, &g.Context, w.epoch), absent, all)
	}
}

// check reads a key and compares. It is called while nothing is written to it.
//
// A reader whose table is as old as it may be can find some values and not those that were
// written a moment ago; but it never finds nothing then.
func (w *writer) check(ctx context.Context, r *router.Router, key dhash.Key, must bool) {
	settled := time.Since(w.since[key]) > 3*time.Second
	got, err := values(ctx, r, key)
	if err != nil && (must || !errors.Is(err, cluster.ErrUnavailable) && !errors.Is(err, ipni.ErrIncomplete)) {
		w.t.Errorf("key %x: %v", key[:4], err)
	}
	if err == nil {
		for value, m := range w.records[key] {
			if has := slices.Contains(got, value); m == present && !has && (settled || len(got) == 0) || must && m == absent && has {
				w.t.Errorf("key %x, value %s: found %v, written %d", key[:4], value, has, m)
			}
		}
	}
	_, err = r.SealedMetadata(ctx, dhash.MetadataKey(key))
	m := w.metadata[dhash.MetadataKey(key)]
	missing := errors.Is(err, fs.ErrNotExist)
	if m == present && missing || must && m == absent && !missing || must && m == present && err != nil {
		w.t.Errorf("metadata %x: %v, written %d", key[:4], err, m)
	}
}

// Nodes are killed, cut off, stalled, restarted, drained and joined at random under load with two
// copies: nothing that was acknowledged is lost or comes back, and no absence is false.
func TestRandomly(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomly(t, seed) })
		})
	}
}

func randomly(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 99))
	p := newPlace(t)
	p.opts.Window, p.opts.Batch = 1+rnd.IntN(4), 1+rnd.IntN(200)
	if seed%2 == 1 {
		p.notes = 20 // so that they overflow
	}
	defer p.close()
	for _, id := range []string{"a", "b", "c"} {
		p.start(id)
	}
	time.Sleep(5 * time.Minute)
	p.wait(2)

	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var writers []*writer
	for i := range 3 {
		w := newWriter(t, p.router(), i, seed)
		reader := p.router() // another one, which knows the table of another moment
		writers = append(writers, w)
		load.Go(func() {
			for ctx.Err() == nil {
				w.write(t.Context())
				w.check(t.Context(), reader, w.key(w.rnd.IntN(30)), false)
				time.Sleep(time.Duration(w.rnd.Int64N(int64(2 * time.Second))))
			}
		})
	}
	for range 30 {
		p.trouble(rnd)
		time.Sleep(time.Duration(rnd.Int64N(int64(time.Minute))))
	}
	cancel()
	load.Wait()
	for _, n := range p.nodes {
		n.link.Break(clustertest.Fault{})
		must(t, n.session.Set(t.Context(), func(m *cluster.Member) { m.Draining = false }))
	}
	time.Sleep(5 * time.Minute)
	p.wait(2)
	for _, w := range writers {
		if w.acked < 50 {
			t.Errorf("only %d writes were acknowledged", w.acked)
		}
		for i := range 30 {
			w.check(t.Context(), p.router(), w.key(i), true)
			p.copies(w, w.key(i))
		}
	}
}

// trouble breaks one node, if none is broken, or repairs it.
func (p *place) trouble(rnd *rand.Rand) {
	ids := []string{"a", "b", "c", "d"}
	id := ids[rnd.IntN(len(ids))]
	n := p.nodes[id]
	for _, other := range p.nodes {
		other.link.Break(clustertest.Fault{}) // one at a time
	}
	switch {
	case n == nil:
		p.start(id)
	case rnd.IntN(4) == 0:
		p.kill(n)
		time.Sleep(time.Duration(rnd.Int64N(int64(time.Minute))))
		p.start(id)
	case rnd.IntN(4) == 0:
		n.session.Set(p.t.Context(), func(m *cluster.Member) { m.Draining = !m.Draining && len(p.nodes) > 3 })
	default:
		faults := []clustertest.Fault{
			{Err: clustertest.ErrCut, ReadsToo: true}, {Err: clustertest.ErrCut}, {Hang: true, ReadsToo: true}, {Hang: true},
			{LateErr: clustertest.ErrCut}, {Err: clustertest.ErrCut, ReadsToo: true, After: 1}, {Hang: true, Deaf: true},
		}
		n.link.Break(faults[rnd.IntN(len(faults))])
	}
}

// copies fails unless each copy of a key has what was acknowledged.
func (p *place) copies(w *writer, key dhash.Key) {
	p.t.Helper()
	row, err := cluster.NewTable(p.kv).Row(p.t.Context(), key[0])
	must(p.t, err)
	for _, x := range row.Replicas {
		got, err := values(p.t.Context(), p.nodes[x.ID].store, key)
		must(p.t, err)
		for value, m := range w.records[key] {
			if has := slices.Contains(got, value); m == present && !has || m == absent && has {
				p.t.Errorf("the copy of %x on %s: value %s %v, written %d", key[:4], x.ID, value, has, m)
			}
		}
	}
}

// exported is a node that remembers when it was exported first.
type exported struct {
	cluster.Node
	at *atomic.Pointer[time.Time]
}

func (e exported) ExportSealed(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Record, error] {
	now := time.Now()
	e.at.CompareAndSwap(nil, &now)
	return e.Node.ExportSealed(ctx, r)
}

// A copy is not read before all writes that do not know of the new one have ended.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		defer p.close()
		var at atomic.Pointer[time.Time]
		p.wrap = func(n cluster.Node) cluster.Node { return exported{n, &at} }
		p.start("a")
		p.wait(1)
		start := time.Now()
		p.start("b")
		for at.Load() == nil {
			time.Sleep(100 * time.Millisecond)
		}
		row, err := cluster.NewTable(p.kv).Row(t.Context(), 0)
		must(t, err)
		if d := at.Load().Sub(start); d < (cluster.Timing{}).WithDefaults().Settle() || d > time.Minute {
			t.Fatalf("read after %v: %+v", d, row)
		}
		p.wait(2)
	})
}

// Where a fill of an earlier time had come to says nothing about this one: writes were missed
// in between.
func TestCursorOfEarlierFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		defer p.close()
		p.start("a")
		p.wait(1)
		r := p.router()
		const keys = 600
		for i := range keys {
			must(t, r.PutSealed(t.Context(), group(1, 1), one(keyOf(i), "value")))
		}
		for part := range cluster.Partitions {
			row := fmt.Sprintf(`{"since":1,"next":"%064x","done":true}`, 0)
			must(t, p.kv.Batch(t.Context(), []kv.Op{kv.Put([]byte("Ncf"+string([]byte{byte(part)})+"b"), []byte(row))}))
		}
		b := p.start("b")
		time.Sleep(time.Minute)
		p.wait(2)
		if n, _ := b.store.Len(); n != keys {
			t.Fatalf("%d records of %d", n, keys)
		}
		synctest.Wait() // cursors go after the table says that their fills are done
		for pair, err := range p.kv.Scan(t.Context(), kv.Prefix([]byte("Ncf"))) {
			t.Fatalf("a cursor is left: %q, %v", pair.Key, err)
		}
	})
}
