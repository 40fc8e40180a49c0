package router_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/clustertest"
	"github.com/hashstream/hashstream/ipni/cluster/router"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// rig is a cluster whose nodes are in memory.
type rig struct {
	t      testing.TB
	kv     kv.Store
	table  *cluster.Table
	stores map[string]*clustertest.Store
	links  map[string]*clustertest.Link
}

// newRig returns a cluster in which all of ids have all partitions.
func newRig(t testing.TB, ids ...string) *rig {
	r := &rig{t: t, kv: memkv.New(), stores: map[string]*clustertest.Store{}, links: map[string]*clustertest.Link{}}
	r.table = cluster.NewTable(r.kv)
	members := cluster.NewMembers(r.kv, cluster.Timing{})
	for _, id := range ids {
		r.stores[id] = clustertest.NewStore()
		r.links[id] = clustertest.NewLink(r.stores[id])
		if _, err := members.Join(t.Context(), cluster.Member{ID: id, Roles: []string{cluster.RoleStore}}); err != nil {
			t.Fatal(err)
		}
	}
	for p := range cluster.Partitions {
		r.change(byte(p), func(row *cluster.Row) {
			for _, id := range ids {
				row.Set(id, cluster.Ready)
			}
		})
	}
	return r
}

func (r *rig) change(p byte, f func(*cluster.Row)) cluster.Row {
	r.t.Helper()
	row, err := r.table.Update(r.t.Context(), p, func(row *cluster.Row) error { f(row); return nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return row
}

func (r *rig) router(o *router.Options) *router.Router {
	return router.New(r.kv, func(m cluster.Member) (cluster.Node, error) {
		if l := r.links[m.ID]; l != nil {
			return l, nil
		}
		return nil, errors.New("no such node")
	}, o)
}

// states returns the states of a partition's replicas.
func (r *rig) states(p byte) map[string]cluster.State {
	r.t.Helper()
	row, err := r.table.Row(r.t.Context(), p)
	if err != nil {
		r.t.Fatal(err)
	}
	states := map[string]cluster.State{}
	for _, x := range row.Replicas {
		states[x.ID] = x.State
	}
	return states
}

// context returns a context of a provider, both by number.
func contextOf(provider, n byte) ipni.Context {
	id := peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, bytes.Repeat([]byte{provider}, 32)...))
	return ipni.Context{Provider: id, ID: fmt.Sprintf("context %d", n)}
}

func hash(text string) multihash.Multihash {
	mh, err := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh
}

func hashes(texts ...string) (all ipni.Multihashes) {
	for _, t := range texts {
		all = append(all, hash(t)...)
	}
	return all
}

// found returns the contexts of a multihash.
func found(ctx context.Context, l ipni.Lookup, text string) (ids []string, err error) {
	for c, err := range l.Contexts(ctx, hash(text)) {
		if errors.Is(err, ipni.ErrIncomplete) && len(ids) > 0 {
			ids = append(ids, "and more")
			continue
		}
		if err != nil {
			return ids, err
		}
		ids = append(ids, c.ID)
	}
	return ids, nil
}

// want fails unless the multihash of text is found in n contexts.
func want(t testing.TB, l ipni.Lookup, text string, n int) {
	t.Helper()
	ids, err := found(t.Context(), l, text)
	if err != nil || len(ids) != n {
		t.Fatalf("%q: contexts %q, error %v; want %d", text, ids, err, n)
	}
}

// wantUnknown fails unless the answer is an error that is not absence.
func wantUnknown(t testing.TB, l ipni.Lookup, text string) error {
	t.Helper()
	ids, err := found(t.Context(), l, text)
	if !errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) || len(ids) > 0 {
		t.Fatalf("%q: contexts %q, error %v; want ErrUnavailable", text, ids, err)
	}
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
