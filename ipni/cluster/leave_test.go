package cluster_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/kv/memkv"
)

// A process that comes back goes on to hand over what it has, with the weight of its new configuration.
func TestDrainingOverRestart(t *testing.T) {
	m := cluster.NewMembers(memkv.New(), cluster.Timing{})
	first := join(t, m, "a")
	must(t, first.Set(t.Context(), func(m *cluster.Member) { m.Draining = true }))
	second, err := m.Join(t.Context(), cluster.Member{ID: "a", Weight: 7})
	must(t, err)
	row := func() cluster.Member {
		all, err := m.List(t.Context())
		must(t, err)
		return all[0].Member
	}
	if got := row(); !got.Draining || got.Weight != 7 {
		t.Fatalf("after the restart: %+v", got)
	}
	must(t, second.Set(t.Context(), func(m *cluster.Member) { m.Draining = false }))
	join(t, m, "a")
	if row().Draining {
		t.Fatal("drains again after that was taken back")
	}
}

func TestForget(t *testing.T) {
	m := cluster.NewMembers(memkv.New(), cluster.Timing{})
	session := join(t, m, "a")
	never := func(cluster.Member) bool { return false }
	if err := m.Forget(t.Context(), "a", never); !errors.Is(err, cluster.ErrReplaced) {
		t.Fatalf("not wanted: %v", err)
	}
	must(t, session.Beat(t.Context()))
	if err := m.Forget(t.Context(), "b", never); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no member: %v", err)
	}
	must(t, m.Forget(t.Context(), "a", func(m cluster.Member) bool { return m.Incarnation == session.Incarnation() }))
	if err := session.Beat(t.Context()); !errors.Is(err, cluster.ErrForgotten) {
		t.Fatalf("forgotten: %v", err)
	}
}

func TestHoldingsAndAbandon(t *testing.T) {
	store := memkv.New()
	table := cluster.NewTable(store)
	m := cluster.NewMembers(store, cluster.Timing{})
	for _, id := range []string{"a", "b", "c"} {
		join(t, m, id)
	}
	set := func(p byte, states map[string]cluster.State) {
		_, err := table.Update(t.Context(), p, func(r *cluster.Row) error {
			for _, id := range []string{"a", "b", "c"} {
				if s, ok := states[id]; ok {
					r.Set(id, s)
				}
			}
			return nil
		})
		must(t, err)
	}
	set(0, map[string]cluster.State{"a": cluster.Ready, "b": cluster.Ready})
	set(1, map[string]cluster.State{"a": cluster.Ready, "b": cluster.Behind, "c": cluster.Filling})
	set(2, map[string]cluster.State{"a": cluster.Ready, "b": cluster.Behind})
	set(3, map[string]cluster.State{"a": cluster.Ready})
	set(4, map[string]cluster.State{"a": cluster.Filling, "b": cluster.Ready})
	_, err := table.Update(t.Context(), 5, func(r *cluster.Row) error {
		r.Set("b", cluster.Ready)
		r.Drop("a")
		return nil
	})
	must(t, err)
	rows, err := table.Load(t.Context())
	must(t, err)
	want := map[string]cluster.Holding{
		"a": {Copies: 5, Ready: 4, Leaving: 1, Only: 3},
		"b": {Copies: 5, Ready: 3, Only: 2},
		"c": {Copies: 1},
	}
	if diff := cmp.Diff(want, cluster.Holdings(rows)); diff != "" {
		t.Fatal(diff)
	}

	all, err := m.List(t.Context())
	must(t, err)
	lost, err := table.Abandon(t.Context(), "a", all)
	must(t, err)
	if lost != 3 {
		t.Errorf("%d partitions lost", lost)
	}
	rows, err = table.Load(t.Context())
	must(t, err)
	for p, heir := range map[byte]string{0: "b", 1: "c", 2: "b", 4: "b", 5: "b"} {
		if x, _ := rows[p].Replica(heir); x.State != cluster.Ready {
			t.Errorf("partition %d: %+v", p, rows[p])
		}
	}
	if rows[3].Count(cluster.Ready) != 1 {
		t.Errorf("a partition that nobody else had: %+v", rows[3])
	}
	for p := byte(1); p < 4; p++ {
		if _, ok := rows[p].Replica("a"); ok {
			t.Errorf("partition %d: still of who is gone: %+v", p, rows[p])
		}
	}
	if x, _ := rows[0].Replica("a"); x.State != cluster.Ready {
		t.Errorf("a copy that is not the only one: %+v", rows[0])
	}
}
