package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func join(t testing.TB, m *cluster.Members, id string) *cluster.Session {
	t.Helper()
	s, err := m.Join(t.Context(), cluster.Member{ID: id, Roles: []string{cluster.RoleStore}})
	must(t, err)
	return s
}

// alive returns who is alive for m.
func alive(t testing.TB, m *cluster.Members) (ids []string) {
	t.Helper()
	all, err := m.List(t.Context())
	must(t, err)
	for _, s := range all {
		if s.Alive {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func TestLiveness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		m := cluster.NewMembers(store, cluster.Timing{TTL: 15 * time.Second})
		a, b := join(t, m, "a"), join(t, m, "b")
		if diff := cmp.Diff([]string{"a", "b"}, alive(t, m)); diff != "" {
			t.Fatal(diff)
		}
		for range 5 {
			time.Sleep(5 * time.Second)
			must(t, a.Beat(t.Context()))
			if until := time.Until(a.Until()); until != 10*time.Second {
				t.Fatalf("safe for %v", until)
			}
			alive(t, m)
		}
		if time.Now().Before(b.Until()) {
			t.Fatal("b believes that it is alive")
		}
		if diff := cmp.Diff([]string{"a"}, alive(t, m)); diff != "" {
			t.Fatal(diff)
		}
		if got := alive(t, cluster.NewMembers(store, cluster.Timing{TTL: 15 * time.Second})); len(got) != 2 {
			t.Fatalf("a new observer calls members dead: %v", got)
		}
		must(t, b.Beat(t.Context()))
		if got := alive(t, m); len(got) != 2 {
			t.Fatalf("b gave a sign of life: %v", got)
		}
		must(t, b.Leave(t.Context()))
		must(t, m.Forget(t.Context(), "a", nil))
		if got := alive(t, m); len(got) != 0 {
			t.Fatalf("who left is alive: %v", got)
		}
		if err := a.Run(t.Context()); !errors.Is(err, cluster.ErrForgotten) || !a.Until().Before(time.Now()) {
			t.Fatalf("a member that was forgotten: %v", err)
		}
	})
}

func TestSecondProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := cluster.NewMembers(memkv.New(), cluster.Timing{})
		first := join(t, m, "a")
		time.Sleep(time.Second)
		second := join(t, m, "a")
		if err := first.Run(t.Context()); !errors.Is(err, cluster.ErrReplaced) || !first.Until().Before(time.Now()) {
			t.Fatalf("the first: %v", err)
		}
		if err := first.Leave(t.Context()); !errors.Is(err, cluster.ErrReplaced) {
			t.Fatalf("the first leaves: %v", err)
		}
		must(t, second.Set(t.Context(), func(m *cluster.Member) { m.Draining, m.ID = true, "other" }))
		all, err := m.List(t.Context())
		must(t, err)
		if len(all) != 1 || !all[0].Draining || all[0].ID != "a" || all[0].Incarnation != second.Incarnation() {
			t.Fatalf("%+v", all)
		}
	})
}

func TestTimingOfTheCluster(t *testing.T) {
	store := memkv.New()
	join(t, cluster.NewMembers(store, cluster.Timing{}), "a")
	other := cluster.NewMembers(store, cluster.Timing{Write: time.Minute})
	if _, err := other.Join(t.Context(), cluster.Member{ID: "b"}); err == nil {
		t.Fatal("joined with another timing")
	}
}

func TestMalformedRows(t *testing.T) {
	for _, row := range []string{
		``, `{}`, `null`, `[]`, `{"id":"a"}`, `{"id":"","url":"","incarnation":1,"beat":1}`,
		`{"id":"a","url":"","incarnation":1,"beat":1,"more":1}`, `{"id":"a","url":"","incarnation":1,"beat":1} `,
		"{\"id\":\"a\\n\",\"url\":\"\",\"incarnation\":1,\"beat\":1}",
	} {
		store := memkv.New()
		must(t, store.Batch(t.Context(), []kv.Op{kv.Put([]byte("Ncma"), []byte(row))}))
		if _, err := cluster.NewMembers(store, cluster.Timing{}).List(t.Context()); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("member %q: %v", row, err)
		}
	}
	for _, row := range []string{
		``, `{"epoch":1}`, `{"epoch":1,"replicas":[{"id":"a","state":"fine","since":1}]}`,
		`{"epoch":1,"replicas":[{"id":"a","state":"ready","since":2}]}`,
		`{"epoch":1,"replicas":[{"id":"a","state":"ready","since":1}],"leaving":[{"id":"a","since":1}]}`,
		`{"epoch":-1,"replicas":null}`,
	} {
		store := memkv.New()
		must(t, store.Batch(t.Context(), []kv.Op{kv.Put([]byte("Ncp\x07"), []byte(row))}))
		table := cluster.NewTable(store)
		if _, err := table.Load(t.Context()); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("partition %q: %v", row, err)
		}
		if _, err := table.Row(t.Context(), 7); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("partition %q: %v", row, err)
		}
	}
}

func members(weights map[string]uint32) (all []cluster.Status) {
	for _, id := range slices.Sorted(maps.Keys(weights)) {
		all = append(all, cluster.Status{Alive: true, Member: cluster.Member{ID: id, Weight: weights[id], Roles: []string{cluster.RoleStore}}})
	}
	return all
}

// Shares follow weights, and who joins takes from others no more than its own.
func TestOwners(t *testing.T) {
	owned := func(all []cluster.Status) (count map[string]int, owners [cluster.Partitions][]string) {
		count = map[string]int{}
		for p := range owners {
			owners[p] = cluster.Owners(byte(p), all, 2, &cluster.Row{})
			for _, id := range owners[p] {
				count[id]++
			}
			if len(owners[p]) != 2 || owners[p][0] == owners[p][1] {
				t.Fatalf("partition %02x: %v", p, owners[p])
			}
		}
		return count, owners
	}
	weights := map[string]uint32{}
	for i := range 8 {
		weights[fmt.Sprint("node", i)] = 100
	}
	before, owners := owned(members(weights))
	for id, n := range before {
		if n < 32 || n > 96 {
			t.Errorf("%s has %d partitions, want about 64", id, n)
		}
	}
	weights["big"] = 300
	after, now := owned(members(weights))
	if n := after["big"]; n < 90 || n > 180 {
		t.Errorf("who weighs three times as much has %d of 512", n)
	}
	for p := range owners {
		for _, id := range now[p] {
			if id != "big" && !slices.Contains(owners[p], id) {
				t.Errorf("partition %02x moved from %v to %v", p, owners[p], now[p])
			}
		}
	}
}

func TestAdapt(t *testing.T) {
	all := func(change ...func(map[string]*cluster.Status)) []cluster.Status {
		list := members(map[string]uint32{"a": 0, "b": 0, "c": 0})
		by := map[string]*cluster.Status{}
		for i := range list {
			by[list[i].ID] = &list[i]
		}
		for _, f := range change {
			f(by)
		}
		return list
	}
	dead := func(id string) func(map[string]*cluster.Status) {
		return func(m map[string]*cluster.Status) { m[id].Alive = false }
	}
	draining := func(m map[string]*cluster.Status) { m["a"].Draining = true }
	frozen := func(id string) func(map[string]*cluster.Status) {
		return func(m map[string]*cluster.Status) { m[id].Frozen = true }
	}
	tests := []struct {
		name    string
		row     string // "a ready, b filling"
		members []cluster.Status
		want    string
	}{
		{"not founded", "", all(), ""},
		{"new owners fill", "a ready", all(draining), "a ready, b filling, c filling"},
		{"the old one stays until they are done", "a ready, b ready, c filling", all(draining), "a ready, b ready, c filling"},
		{"and leaves then", "a ready, b ready, c ready", all(draining), "b ready, c ready, -a"},
		{"the dead are behind", "a ready, b ready", all(draining, dead("b"), frozen("c")), "a ready, b behind"},
		{"not if nobody else is in sync", "a behind, b ready, c filling", all(draining, dead("b")), "a behind, b ready, c filling"},
		{"not if the other is dead too", "a ready, b ready", all(dead("a"), dead("b")), "a ready, b ready, c filling"},
		{"the frozen get nothing new", "a ready", all(draining, frozen("c")), "a ready, b filling"},
		{"but keep what they have", "a ready, b ready, c ready", all(draining, frozen("c")), "b ready, c ready, -a"},
		{"who left and is needed again fills", "b ready, -a, -c", all(draining), "b ready, c filling, -a"},
		{"one who is no member need not drop", "b ready, c ready, -x", all(draining), "b ready, c ready"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := cluster.NewTable(memkv.New())
			_, err := table.Update(t.Context(), 5, func(r *cluster.Row) error { parse(r, test.row); return nil })
			must(t, err)
			row, err := table.Update(t.Context(), 5, func(r *cluster.Row) error { cluster.Adapt(5, r, test.members, 2); return nil })
			must(t, err)
			if got := format(row); got != test.want {
				t.Fatalf("%q, want %q", got, test.want)
			}
		})
	}
}

// parse sets r to what text says.
func parse(r *cluster.Row, text string) {
	for _, part := range bytes.Split([]byte(text), []byte(", ")) {
		id, state, _ := bytes.Cut(part, []byte(" "))
		switch {
		case len(part) == 0:
		case part[0] == '-':
			r.Drop(string(part[1:]))
		default:
			r.Set(string(id), cluster.State(state))
		}
	}
}

// format is the inverse of parse, sorted.
func format(r cluster.Row) string {
	var parts, leaving []string
	for _, x := range r.Replicas {
		parts = append(parts, x.ID+" "+string(x.State))
	}
	for _, x := range r.Leaving {
		leaving = append(leaving, "-"+x.ID)
	}
	slices.Sort(parts)
	slices.Sort(leaving)
	var b bytes.Buffer
	for i, s := range append(parts, leaving...) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(s)
	}
	return b.String()
}

func TestFoundAndPromote(t *testing.T) {
	table := cluster.NewTable(memkv.New())
	_, err := table.Update(t.Context(), 9, func(r *cluster.Row) error { r.Set("old", cluster.Ready); return nil })
	must(t, err)
	must(t, table.Found(t.Context(), "a"))
	must(t, table.Found(t.Context(), "b"))
	rows, err := table.Load(t.Context())
	must(t, err)
	for p, row := range rows {
		want := map[bool]string{true: "old ready", false: "a ready"}[p == 9]
		if got := format(row); got != want {
			t.Fatalf("partition %02x: %q, want %q", p, got, want)
		}
	}
	if err := table.Promote(t.Context(), 9, "a"); err == nil {
		t.Fatal("promoted who has no copy")
	}
	_, err = table.Update(t.Context(), 9, func(r *cluster.Row) error { r.Set("a", cluster.Behind); return nil })
	must(t, err)
	must(t, table.Promote(t.Context(), 9, "a"))
	row, err := table.Row(t.Context(), 9)
	must(t, err)
	if got, _ := row.Replica("a"); got.State != cluster.Ready || got.Since != row.Epoch {
		t.Fatalf("%+v", row)
	}
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		a, b := cluster.NewLease(store, cluster.Timing{}), cluster.NewLease(store, cluster.Timing{})
		hold := func(l *cluster.Lease, id string) bool {
			held, err := l.Hold(t.Context(), id)
			must(t, err)
			return held
		}
		for range 10 {
			if !hold(a, "a") || hold(b, "b") {
				t.Fatal("not a alone")
			}
			time.Sleep(5 * time.Second)
		}
		time.Sleep(9 * time.Second)
		if hold(b, "b") {
			t.Fatal("b took it too early")
		}
		time.Sleep(6 * time.Second)
		if !hold(b, "b") || hold(a, "a") {
			t.Fatal("b did not take it over")
		}
	})
}
