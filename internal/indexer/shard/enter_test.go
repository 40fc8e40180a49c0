package shard_test

import (
	"bytes"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/local"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv/memkv"
)

// write puts a record into a store itself, past the cluster.
func write(t testing.TB, s *store.Store, p byte) {
	t.Helper()
	must(t, s.PutSealed(t.Context(), ipni.SealedGroup{Epoch: 1}, valuestore.Records(nil).Append(dhash.Key{p}, bytes.Repeat([]byte("v"), 102))))
}

// copies counts the copies of a member by their state.
func copies(t testing.TB, state *memkv.Store, id string) map[cluster.State]int {
	t.Helper()
	rows, err := cluster.NewTable(state).Load(t.Context())
	must(t, err)
	n := map[cluster.State]int{}
	for _, row := range rows {
		if x, ok := row.Replica(id); ok {
			n[x.State]++
		}
	}
	return n
}

// end waits until a node that is refused has ended, and returns why.
func end(t testing.TB, p *process) error {
	t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- nil
		p.stop()
		return err
	case <-time.After(time.Minute):
		p.stop()
		return nil
	}
}

// Records that the table knows nothing of are not deleted by a fill from a node that has none.
func TestNewNodeBeforeTheOneWithRecords(t *testing.T) {
	fresh, old := openStore(t), openStore(t)
	write(t, old, 1)
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		b := start(t, state, fresh, "b")
		defer b.stop()
		time.Sleep(time.Second)
		a := start(t, state, old, "a")
		refused(t, end(t, a), fs.ErrInvalid, "start this node first, on an empty ipni.state")
		time.Sleep(10 * time.Minute)
		if empty, err := local.New(old).Empty(t.Context()); err != nil || empty {
			t.Errorf("the records are gone: %t, %v", empty, err)
		}
		if n := copies(t, state, "a"); len(n) > 0 {
			t.Errorf("copies of a: %v", n)
		}
	})
}

// A node with records that is the first founds the cluster, and may be started again; so may one that had none.
func TestFounding(t *testing.T) {
	old, fresh := openStore(t), openStore(t)
	write(t, old, 1)
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		for range 2 {
			a := start(t, state, old, "a")
			time.Sleep(time.Second)
			b := start(t, state, fresh, "b")
			time.Sleep(10 * time.Second)
			if n := copies(t, state, "a"); n[cluster.Ready] != 256 {
				t.Errorf("copies of a: %v", n)
			}
			select {
			case err := <-b.ended:
				t.Fatal(err)
			case err := <-a.ended:
				t.Fatal(err)
			default:
			}
			b.stop()
			a.stop()
		}
	})
}

// A state that was lost is not founded anew by whoever comes back first, but by whom it is told to.
func TestLostState(t *testing.T) {
	first, second := openStore(t), openStore(t)
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		a, b := start(t, state, first, "a"), start(t, state, second, "b")
		time.Sleep(time.Second)
		a.stop()
		b.stop()
		write(t, second, 1)

		lost := memkv.New()
		again := open(t, lost, first, "a", "127.0.0.1:0", "")
		refused(t, again.Enter(t.Context()), fs.ErrInvalid, "hashstream ipni found --again")
		if n := copies(t, lost, "a"); len(n) > 0 {
			t.Errorf("copies of a: %v", n)
		}
		must(t, again.Found(t.Context()))
		must(t, again.Enter(t.Context()))
		if n := copies(t, lost, "a"); n[cluster.Ready] != 256 {
			t.Errorf("copies of a: %v", n)
		}
		other := open(t, lost, second, "b", "127.0.0.1:0", "")
		refused(t, other.Enter(t.Context()), fs.ErrInvalid, "belong to another cluster")
		a = start(t, lost, first, "a")
		time.Sleep(time.Second)
		defer a.stop()
		refused(t, other.Found(t.Context()), fs.ErrInvalid, "a keep records")
	})
}

// A member with another store than before lacks what its copies had, and says so before it serves.
func TestWipedStore(t *testing.T) {
	first, wiped, other := openStore(t), openStore(t), openStore(t)
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		a := start(t, state, first, "a")
		time.Sleep(10 * time.Second)
		a.stop()
		refused(t, open(t, state, wiped, "a", "127.0.0.1:0", "").Enter(t.Context()), fs.ErrInvalid, "only copy in sync of 256 partitions")
		if n := copies(t, state, "a"); n[cluster.Ready] != 256 {
			t.Errorf("copies that the store has which is to be put back: %v", n)
		}
		a = start(t, state, first, "a")
		b := start(t, state, other, "b")
		defer b.stop()
		time.Sleep(10 * time.Second)
		fill(t, state, "b")
		a.stop()
		must(t, open(t, state, first, "a", "127.0.0.1:0", "").Enter(t.Context()))
		if n := copies(t, state, "a"); n[cluster.Ready] != 256 {
			t.Errorf("after a restart: %v", n)
		}
		must(t, open(t, state, wiped, "a", "127.0.0.1:0", "").Enter(t.Context()))
		if n := copies(t, state, "a"); n[cluster.Behind] != 256 {
			t.Errorf("with another store: %v", n)
		}
		a = start(t, state, wiped, "a")
		defer a.stop()
		time.Sleep(10 * time.Second)
		if n := copies(t, state, "a"); n[cluster.Filling] != 256 {
			t.Errorf("when it has joined: %v", n)
		}
	})
}

// A copied disk is no second copy; a node that got another name is no copy of itself.
func TestSameStoreTwice(t *testing.T) {
	records := openStore(t)
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		a := start(t, state, records, "a")
		time.Sleep(10 * time.Second)
		copied := start(t, state, records, "copied")
		refused(t, end(t, copied), fs.ErrInvalid, `that of "a" too`)
		a.stop()
		renamed := start(t, state, records, "renamed")
		defer renamed.stop()
		time.Sleep(time.Minute)
		list, err := renamed.Members(t.Context())
		must(t, err)
		if len(list) != 2 || !list[1].Alive || list[0].Alive {
			t.Errorf("members %+v", list)
		}
	})
}
