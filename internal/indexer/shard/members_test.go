package shard_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/indexer/shard"
	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openStore opens a store of records, outside of a bubble for its caches have goroutines.
func openStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), kvstore.New(memkv.New()), memkv.New(), nil)
	must(t, err)
	return s
}

// process is a node that runs.
type process struct {
	*shard.Shard
	stop  func()
	ended chan error
}

// start starts a node that keeps records.
func start(t testing.TB, state kv.Store, records *store.Store, name string) *process {
	t.Helper()
	c := config.Default("").Shard
	c.Listen, c.Name, c.Weight = "127.0.0.1:0", name, 50
	s, err := shard.Open(shard.Options{Config: c, State: state, Store: records, Full: func() bool { return false }})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	p := &process{Shard: s, ended: make(chan error, 1)}
	go func() { p.ended <- s.Run(ctx, "http://user:secret@"+name+"/?token=secret", nil) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		<-p.ended
		must(t, s.Close())
	})
	return p
}

// join makes a member of a cluster that gives signs of life until the test ends, and does nothing else.
func join(t testing.TB, state kv.Store, id string, roles ...string) (stop func()) {
	t.Helper()
	session, err := cluster.NewMembers(state, cluster.Timing{}).Join(t.Context(), cluster.Member{ID: id, Roles: roles})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	go session.Run(ctx)
	return cancel
}

// fill makes all copies of a member count as in sync.
func fill(t testing.TB, state kv.Store, id string) {
	t.Helper()
	for p := range cluster.Partitions {
		_, err := cluster.NewTable(state).Update(t.Context(), byte(p), func(r *cluster.Row) error { r.Set(id, cluster.Ready); return nil })
		must(t, err)
	}
}

// refused wants an error of a kind that says something.
func refused(t testing.TB, err, kind error, says string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want one that matches %v and says %q", err, kind, says)
	}
}

func TestAlone(t *testing.T) {
	s, err := shard.Open(shard.Options{Store: openStore(t)})
	must(t, err)
	for name, f := range map[string]func() error{
		"members": func() error { _, err := s.Members(t.Context()); return err },
		"list":    func() error { _, err := s.Assignments(t.Context(), ""); return err },
		"assign":  func() error { _, err := s.Assign(t.Context(), "p", "a", shard.Pin); return err },
		"drain":   func() error { _, err := s.Drain(t.Context(), false); return err },
		"leave":   func() error { _, err := s.Leave(t.Context(), "a", true); return err },
	} {
		t.Run(name, func(t *testing.T) { refused(t, f(), fs.ErrInvalid, "ipni.state") })
	}
}

// A node drains over a restart, is told to be done when nothing is left, and goes on without the others
// when it has left them.
func TestDrainAndLeave(t *testing.T) {
	records := openStore(t)
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		a := start(t, state, records, "a")
		defer func() { a.stop() }()
		time.Sleep(10 * time.Second)
		_, err := a.Drain(t.Context(), false)
		refused(t, err, fs.ErrInvalid, "no other node")

		defer join(t, state, "b", cluster.RoleStore, cluster.RoleIngest)()
		d, err := a.Drain(t.Context(), false)
		must(t, err)
		if diff := cmp.Diff(shard.Draining{Node: "a", Draining: true, Partitions: 256}, d); diff != "" {
			t.Fatal(diff)
		}
		a.stop()
		a = start(t, state, records, "a")
		if d, err := a.Drain(t.Context(), false); err != nil || !d.Draining {
			t.Fatalf("just after a restart: %+v, %v", d, err)
		}
		time.Sleep(time.Second)
		list, err := a.Members(t.Context())
		must(t, err)
		want := []shard.Member{
			{ID: "a", URL: "http://a/", Roles: []string{"store"}, Self: true, Alive: true, Draining: true, Weight: 50, Partitions: 256, Ready: 256, Only: 256},
			{ID: "b", Roles: []string{"store", "ingest"}, Alive: true, Weight: 100, Partitions: 256},
		}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Fatal(diff)
		}
		_, err = a.Leave(t.Context(), "a", false)
		refused(t, err, fs.ErrInvalid, "256 partitions")

		fill(t, state, "b")
		row := []byte(`{"token":1,"leases":[{"holder":"a","token":1}]}`)
		must(t, state.Batch(t.Context(), []kv.Op{kv.Put([]byte("Nap"+string(publisher)), row)}))
		time.Sleep(5 * time.Minute)
		if d, err = a.Drain(t.Context(), false); err != nil || d.Done || d.Publishers != 1 || d.Partitions != 0 {
			t.Fatalf("with a publisher that is followed: %+v, %v", d, err)
		}
		must(t, assign.NewTable(state).Remove(t.Context(), publisher))
		if d, err = a.Drain(t.Context(), false); err != nil || !d.Done || d.Partitions != 0 {
			t.Fatalf("after all was handed over: %+v, %v", d, err)
		}
		_, err = a.Leave(t.Context(), "a", false)
		must(t, err)
		time.Sleep(time.Minute)
		select {
		case err := <-a.ended:
			t.Fatalf("the node ended when it had left: %v", err)
		default:
		}
		_, err = a.Drain(t.Context(), true)
		refused(t, err, fs.ErrInvalid, "start it again")
		if list, err = a.Members(t.Context()); err != nil || len(list) != 1 || list[0].Ready != 256 {
			t.Fatalf("members that stay: %+v, %v", list, err)
		}
	})
}

func TestUndoDrain(t *testing.T) {
	records := openStore(t)
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		a := start(t, state, records, "a")
		defer a.stop()
		time.Sleep(time.Second)
		defer join(t, state, "b", cluster.RoleStore)()
		for _, undo := range []bool{false, true} {
			d, err := a.Drain(t.Context(), undo)
			must(t, err)
			list, err := a.Members(t.Context())
			must(t, err)
			if d.Draining == undo || list[0].Draining == undo {
				t.Errorf("undo %t: %+v, %+v", undo, d, list[0])
			}
		}
		_, err := cluster.NewMembers(state, cluster.Timing{}).Join(t.Context(), cluster.Member{ID: "b", Roles: []string{cluster.RoleStore}, Draining: true})
		must(t, err)
		_, err = a.Drain(t.Context(), false)
		refused(t, err, fs.ErrInvalid, "no other node")
	})
}

func TestLeaveOfTheDead(t *testing.T) {
	records := openStore(t)
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		a := start(t, state, records, "a")
		defer a.stop()
		time.Sleep(time.Second)
		stop := join(t, state, "b", cluster.RoleStore, cluster.RoleIngest)
		_, err := a.Leave(t.Context(), "b", false)
		refused(t, err, fs.ErrInvalid, "alive")
		_, err = a.Leave(t.Context(), "c", true)
		refused(t, err, fs.ErrNotExist, "a, b")
		time.Sleep(10 * time.Second)
		stop()
		only := func(id string) {
			_, err := cluster.NewTable(state).Update(t.Context(), 7, func(r *cluster.Row) error {
				r.Replicas = nil
				r.Set(id, cluster.Ready)
				return nil
			})
			must(t, err)
		}
		only("b")
		time.Sleep(time.Minute)
		_, err = a.Leave(t.Context(), "b", false)
		refused(t, err, fs.ErrInvalid, "only copy in sync of 1 partitions")
		left, err := a.Leave(t.Context(), "b", true)
		must(t, err)
		row, err := cluster.NewTable(state).Row(t.Context(), 7)
		must(t, err)
		if x, _ := row.Replica("a"); left.Lost != 1 || x.State != cluster.Ready {
			t.Errorf("%+v, partition %+v", left, row)
		}
		stop = join(t, state, "b", cluster.RoleStore)
		time.Sleep(10 * time.Second)
		stop()
		time.Sleep(time.Minute)
		if _, err := a.Leave(t.Context(), "b", false); err != nil {
			t.Errorf("a dead member that has nothing that others lack: %v", err)
		}
	})
}

var publisher = func() peer.ID {
	id, err := peer.Decode("12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt")
	if err != nil {
		panic(err)
	}
	return id
}()

func TestAssign(t *testing.T) {
	records := openStore(t)
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		a := start(t, state, records, "a")
		defer a.stop()
		time.Sleep(time.Second)
		defer join(t, state, "b", cluster.RoleIngest)()
		_, err := a.Assign(t.Context(), publisher, "b", shard.Bar)
		refused(t, err, fs.ErrNotExist, publisher.String())
		_, err = a.Assign(t.Context(), publisher, "nobody", shard.Pin)
		refused(t, err, fs.ErrNotExist, "the members are a, b")
		_, err = a.Assign(t.Context(), publisher, "a", shard.Pin)
		refused(t, err, fs.ErrInvalid, `the role "ingest"`)
		_, err = a.Assign(t.Context(), publisher, "b", "")
		refused(t, err, fs.ErrInvalid, "assign")

		must(t, assign.NewTable(state).Add(t.Context(), publisher, "b"))
		for _, step := range []struct {
			how  string
			want shard.Publisher
		}{
			{shard.Pin, shard.Publisher{Pinned: []string{"b"}, Barred: []string{}, Preferred: []string{"b"}}},
			{shard.Bar, shard.Publisher{Pinned: []string{}, Barred: []string{"b"}, Preferred: []string{}}},
			{shard.Free, shard.Publisher{Pinned: []string{}, Barred: []string{}, Preferred: []string{}}},
		} {
			got, err := a.Assign(t.Context(), publisher, "b", step.how)
			must(t, err)
			step.want.ID, step.want.Followers = publisher.String(), []string{}
			if diff := cmp.Diff([]shard.Publisher{step.want}, got); diff != "" {
				t.Errorf("%s: %s", step.how, diff)
			}
			if all, err := a.Assignments(t.Context(), ""); err != nil || !slices.EqualFunc(all, got, func(x, y shard.Publisher) bool { return cmp.Equal(x, y) }) {
				t.Errorf("%s: listed %+v, %v", step.how, all, err)
			}
		}
	})
}
