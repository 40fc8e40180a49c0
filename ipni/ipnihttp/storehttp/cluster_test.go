package storehttp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/clustertest"
	"github.com/hashstream/hashstream/ipni/cluster/local"
	"github.com/hashstream/hashstream/ipni/cluster/rebalance"
	"github.com/hashstream/hashstream/ipni/cluster/router"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

// importer is a node as this package and package local make it.
type importer interface {
	cluster.Node
	rebalance.Importer
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openStore opens a store on disk, as a node has it.
func openStore(t testing.TB, compact bool) *store.Store {
	t.Helper()
	o := &segstore.Options{Memory: 16 << 20, Reserve: -1}
	if compact {
		o.KeyBytes = 8
	}
	values, err := segstore.Open(t.TempDir(), o)
	must(t, err)
	t.Cleanup(func() { values.Close() })
	rows, err := pebblekv.Open(t.TempDir(), nil)
	must(t, err)
	t.Cleanup(func() { rows.Close() })
	s, err := store.Open(t.Context(), values, rows, &store.Options{Compact: compact})
	must(t, err)
	return s
}

// serve serves a node.
func serve(t testing.TB, n cluster.Node) string {
	s := httptest.NewServer(storehttp.New(n, &storehttp.Options{
		Authorize: everybody, Exporter: n, Reads: ipnihttp.New(ipnihttp.Index{Sealed: n}, nil),
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// sameExports compares nodes with the model in random ranges, which are read at once and in parts
// that end anywhere, and by lookups.
func sameExports(t *testing.T, rnd *rand.Rand, model cluster.Node, keys []dhash.Key, nodes map[string]importer) {
	t.Helper()
	ranges := []valuestore.Range{valuestore.Everything(), {From: keys[0], To: keys[0]}}
	for range 3 {
		r := randomRange(rnd, 1)
		if rnd.IntN(2) == 0 {
			r.From, r.To = keys[rnd.IntN(len(keys))], keys[rnd.IntN(len(keys))]
		}
		ranges = append(ranges, r)
	}
	for name, n := range nodes {
		for _, r := range ranges {
			if bytes.Compare(r.From[:], r.To[:]) > 0 {
				r.From, r.To = r.To, r.From
			}
			want, _ := collect(model.ExportSealed(t.Context(), r), cloneRecord)
			equal := func(how string, got []cluster.Record) {
				if !slices.EqualFunc(got, want, func(a, b cluster.Record) bool { return compareRecords(a, b) == 0 }) {
					t.Fatalf("%s: %d records of %x, %s, not %d, or others", name, len(got), r, how, len(want))
				}
			}
			got, err := collect(n.ExportSealed(t.Context(), r), cloneRecord)
			must(t, err)
			equal("at once", got)
			equal("in parts", inParts(t, rnd, n, r))
			metadata, _ := collect(model.ExportMetadata(t.Context(), r), cloneMetadata)
			gotMetadata, err := collect(n.ExportMetadata(t.Context(), r), cloneMetadata)
			must(t, err)
			if !slices.EqualFunc(gotMetadata, metadata, func(a, b cluster.Metadata) bool { return a.Key == b.Key && bytes.Equal(a.Sealed, b.Sealed) }) {
				t.Fatalf("%s: %d metadata of %x, not %d, or others", name, len(gotMetadata), r, len(metadata))
			}
		}
		for i := range 20 {
			key := keys[min(i, 1)*rnd.IntN(len(keys))] // the hot one too
			want, _ := collect(model.ValueKeys(t.Context(), key), bytes.Clone)
			if got, err := collect(n.ValueKeys(t.Context(), key), bytes.Clone); err != nil || !slices.EqualFunc(got, want, bytes.Equal) {
				t.Fatalf("%s: %d values of %x, not %d, or others: %v", name, len(got), key[:4], len(want), err)
			}
		}
	}
}

// inParts exports as one does who remembers the last key, and goes on behind it.
func inParts(t *testing.T, rnd *rand.Rand, n cluster.Node, r valuestore.Range) (all []cluster.Record) {
	t.Helper()
	for more := true; more; {
		more = false
		left := 1 + rnd.IntN(8000)
		for x, err := range n.ExportSealed(t.Context(), r) {
			must(t, err)
			if left--; left < 0 && x.Key != all[len(all)-1].Key {
				r.From, more = x.Key, true
				break
			}
			all = append(all, cloneRecord(x))
		}
	}
	return all
}

// TestNodes writes at random to a store, from here and over HTTP, and to a model in maps, and
// compares all three.
func TestNodes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	model := clustertest.NewStore()
	here := local.New(openStore(t, false))
	nodes := map[string]importer{"local": here, "remote": newClient(t, serve(t, here), nil)}
	keys := make([]dhash.Key, 2000) // of which the first is hot
	for i := range keys {
		keys[i] = dhash.SecondHash(fmt.Append(nil, i))
	}
	groupOf := func() ipni.SealedGroup {
		g := ipni.SealedGroup{Provider: ipni.ProviderTag{1 + byte(rnd.IntN(3))}, Context: dhash.MetadataKey{byte(rnd.IntN(5))}, Epoch: uint64(rnd.IntN(4))}
		if rnd.IntN(20) == 0 {
			g = ipni.SealedGroup{}
		}
		return g
	}
	recordOf := func(g ipni.SealedGroup) cluster.Record {
		key := keys[rnd.IntN(len(keys))]
		n := rnd.IntN(5)
		if rnd.IntN(4) == 0 {
			key, n = keys[0], rnd.IntN(4000)
		}
		return cluster.Record{Group: g, Key: key, Value: fmt.Appendf(nil, "%0102d", n)}
	}
	for step := range 60 {
		target := nodes[[]string{"local", "remote"}[rnd.IntN(2)]]
		switch what := rnd.IntN(10); {
		case what < 4:
			g := groupOf()
			var records valuestore.Records
			for range rnd.IntN(1500) {
				x := recordOf(g)
				records = records.Append(x.Key, x.Value)
			}
			write, same := target.PutSealed, model.PutSealed
			if what == 0 {
				write, same = target.DeleteSealed, model.DeleteSealed
			}
			must(t, write(t.Context(), g, records))
			must(t, same(t.Context(), g, records))
		case what < 7:
			put, del := map[string]cluster.Record{}, map[string]cluster.Record{}
			for range rnd.IntN(1500) {
				x := recordOf(groupOf())
				name := fmt.Sprint(x)
				if to := []map[string]cluster.Record{put, put, del}[rnd.IntN(3)]; len(put[name].Value)+len(del[name].Value) == 0 {
					to[name] = x
				}
			}
			must(t, target.ImportSealed(t.Context(), slices.Collect(maps.Values(put)), slices.Collect(maps.Values(del))))
			for _, x := range put {
				must(t, model.PutSealed(t.Context(), x.Group, valuestore.Records(nil).Append(x.Key, x.Value)))
			}
			for _, x := range del {
				must(t, model.DeleteSealed(t.Context(), x.Group, valuestore.Records(nil).Append(x.Key, x.Value)))
			}
		case what < 8:
			g := groupOf()
			only := &g.Context
			if rnd.IntN(3) == 0 {
				only = nil
			}
			if g.Provider != (ipni.ProviderTag{}) {
				must(t, target.RemoveSealed(t.Context(), g.Provider, only, g.Epoch))
				must(t, model.RemoveSealed(t.Context(), g.Provider, only, g.Epoch))
			}
		default:
			for range 30 {
				key := dhash.MetadataKey(keys[rnd.IntN(len(keys))])
				var sealed []byte
				if rnd.IntN(3) > 0 {
					sealed = bytes.Repeat([]byte{byte(step)}, dhash.Overhead+rnd.IntN(dhash.MaxMetadata+1))
				}
				must(t, target.PutSealedMetadata(t.Context(), key, sealed))
				must(t, model.PutSealedMetadata(t.Context(), key, sealed))
			}
		}
		if step%20 == 19 {
			sameExports(t, rnd, model, keys, nodes)
		}
	}
	if n, m := model.Len(); n < 10_000 || m < 50 {
		t.Errorf("only %d records and %d metadata were compared", n, m)
	}
}

// TestCompactNodes compares what a compact store seals with what was computed by itself.
func TestCompactNodes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	model, s := clustertest.NewStore(), openStore(t, true)
	here := local.New(s)
	nodes := map[string]importer{"local": here, "remote": newClient(t, serve(t, here), nil)}
	hashOf := func(n int) multihash.Multihash {
		mh, err := multihash.Sum(binary.BigEndian.AppendUint64(nil, uint64(n)), multihash.SHA2_256, -1)
		must(t, err)
		return mh
	}
	var keys []dhash.Key
	for n := range 3000 {
		keys = append(keys, dhash.SecondHash(hashOf(n)))
	}
	for i := range 250 {
		c := ipni.Context{Provider: peer.ID("\x00\x24\x08\x01\x12\x20" + fmt.Sprintf("%032d", i%5)), ID: fmt.Sprint(i % 150)}
		g := ipni.Group{Context: c, Epoch: uint64(i)}
		mhs := ipni.Multihashes(hashOf(0)) // the hot one
		for range rnd.IntN(100) {
			mhs = append(mhs, hashOf(rnd.IntN(3000))...)
		}
		must(t, s.Put(t.Context(), g, mhs))
		for mh, err := range mhs.All() {
			must(t, err)
			must(t, model.PutSealed(t.Context(), g.Seal(), valuestore.Records(nil).Append(dhash.SecondHash(mh), dhash.Seal(nil, c.ValueKey(), mh))))
		}
		if i%7 == 0 {
			must(t, s.Remove(t.Context(), c, uint64(i)))
			sealed := g.Seal()
			must(t, model.RemoveSealed(t.Context(), sealed.Provider, &sealed.Context, uint64(i)))
		}
	}
	sameExports(t, rnd, model, keys, nodes)
	for name, n := range nodes {
		x := cluster.Record{Group: group(1), Key: keys[0], Value: make([]byte, dhash.Overhead)}
		for what, err := range map[string]error{
			"put": n.PutSealed(t.Context(), x.Group, valuestore.Records(nil).Append(x.Key, x.Value)), "import": n.ImportSealed(t.Context(), []cluster.Record{x}, nil),
		} {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		if _, err := n.SealedMetadata(t.Context(), dhash.MetadataKey{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What a compact store ships, a sealed one has.
	sealed := openStore(t, false)
	for f, err := range newClient(t, serve(t, here), nil).Export(t.Context(), valuestore.Everything()) {
		must(t, err)
		must(t, newClient(t, serve(t, local.New(sealed)), nil).WriteFrame(t.Context(), false, f))
	}
	sameExports(t, rnd, model, keys, map[string]importer{"shipped": local.New(sealed)})
}

// member is a node of a cluster, over HTTP.
type member struct {
	node    *local.Node
	session *cluster.Session
	agent   *rebalance.Agent
}

func dial(t *testing.T) func(cluster.Member) (cluster.Node, error) {
	return func(m cluster.Member) (cluster.Node, error) { return storehttp.NewClient(m.URL, nil) }
}

func join(t *testing.T, rows kv.Store, timing cluster.Timing, id string) *member {
	t.Helper()
	n := &member{node: local.New(openStore(t, false))}
	replica := rebalance.NewReplica(n.node, 0)
	members := cluster.NewMembers(rows, timing)
	session, err := members.Join(t.Context(), cluster.Member{ID: id, URL: serve(t, replica), Roles: []string{cluster.RoleStore}})
	must(t, err)
	n.session = session
	n.agent = rebalance.NewAgent(rows, members, session, replica, dial(t), &rebalance.Options{
		Interval: 100 * time.Millisecond, Parallel: 8, Window: 50, Batch: 4 << 10,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { session.Run(ctx) })
	all.Go(func() { n.agent.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
	return n
}

// TestRebalance gives a second node copies of all partitions over HTTP while there are writes, and then
// drains the first one.
func TestRebalance(t *testing.T) {
	rows, timing := memkv.New(), cluster.Timing{TTL: 15 * time.Second, View: 500 * time.Millisecond, Write: 5 * time.Second}
	model := clustertest.NewStore()
	rnd := rand.New(rand.NewPCG(5, 5))
	first := join(t, rows, timing, "a")
	settled := func(copies int) bool {
		table, err := cluster.NewTable(rows).Load(t.Context())
		must(t, err)
		for _, row := range table {
			if row.Count(cluster.Ready) != copies || len(row.Replicas) != copies || len(row.Leaving) > 0 {
				return false
			}
		}
		return true
	}
	r := router.New(rows, dial(t), &router.Options{Timing: timing})
	change := func(n int) {
		g := ipni.SealedGroup{Provider: ipni.ProviderTag{1}, Context: dhash.MetadataKey{byte(rnd.IntN(8))}, Epoch: 1}
		var records valuestore.Records
		for range n {
			records = records.Append(randomKey(rnd, 5000), fmt.Appendf(nil, "%0102d", rnd.IntN(4)))
		}
		must(t, r.PutSealed(t.Context(), g, records))
		must(t, model.PutSealed(t.Context(), g, records))
		some := valuestore.Records(nil)
		for range n / 4 {
			some = some.Append(randomKey(rnd, 5000), fmt.Appendf(nil, "%0102d", rnd.IntN(4)))
		}
		must(t, r.DeleteSealed(t.Context(), g, some))
		must(t, model.DeleteSealed(t.Context(), g, some))
		key, md := dhash.MetadataKey(randomKey(rnd, 5000)), fmt.Appendf(nil, "%040d", rnd.Int())
		must(t, r.PutSealedMetadata(t.Context(), key, md))
		must(t, model.PutSealedMetadata(t.Context(), key, md))
	}
	until := func(copies int, meanwhile func()) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !settled(copies); meanwhile() {
			if time.Now().After(deadline) {
				t.Fatalf("not %d copies of each partition", copies)
			}
		}
	}
	pause := func() { time.Sleep(20 * time.Millisecond) } // between looks at the table
	until(1, pause)
	for range 20 {
		change(1000)
	}
	second := join(t, rows, timing, "b")
	until(2, func() { change(20); pause() })
	whole := func(n cluster.Node) []cluster.Record {
		t.Helper()
		got, err := collect(n.ExportSealed(t.Context(), valuestore.Everything()), cloneRecord)
		must(t, err)
		return got
	}
	equal := func(name string, n cluster.Node) {
		t.Helper()
		want, got := whole(model), whole(n)
		if !slices.EqualFunc(got, want, func(a, b cluster.Record) bool { return compareRecords(a, b) == 0 }) {
			t.Errorf("%s has %d records, not %d, or others", name, len(got), len(want))
		}
		wantMd, _ := collect(model.ExportMetadata(t.Context(), valuestore.Everything()), cloneMetadata)
		md, err := collect(n.ExportMetadata(t.Context(), valuestore.Everything()), cloneMetadata)
		if err != nil || !slices.EqualFunc(md, wantMd, func(a, b cluster.Metadata) bool { return a.Key == b.Key && bytes.Equal(a.Sealed, b.Sealed) }) {
			t.Errorf("%s has %d metadata, not %d, or others: %v", name, len(md), len(wantMd), err)
		}
	}
	equal("a", first.node)
	equal("b", second.node)
	must(t, first.session.Set(t.Context(), func(m *cluster.Member) { m.Draining = true }))
	until(1, func() { change(5); pause() })
	equal("b, alone,", second.node)
	if left := whole(first.node); len(left) > 0 {
		t.Errorf("a, which was drained, has %d records", len(left))
	}
	if copies, err := first.agent.Copies(t.Context()); err != nil || len(copies) > 0 {
		t.Errorf("a has copies %v, %v", copies, err)
	}
}
