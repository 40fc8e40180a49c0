package ingest_test

import (
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

func TestInactiveAndStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.add(t, "a", hash(1))
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		asked := p.asked()
		time.Sleep(73 * time.Hour)
		if got := p.asked() - asked; got != 3 {
			t.Errorf("polled %d times in three days", got)
		}
		p.do(func() { p.headErr = errors.New("no route to host") })
		contact := n.status(t, p).ContactAt
		time.Sleep(time.Until(contact.Add(6 * 24 * time.Hour)))
		if s := n.status(t, p); s.Inactive || s.Error == "" {
			t.Errorf("after 6 days: %+v", s)
		}
		time.Sleep(36 * time.Hour)
		if s := n.status(t, p); !s.Inactive {
			t.Errorf("after 7.5 days: %+v", s)
		}
		if r, err := n.registry.Provider(t.Context(), p.id); err != nil || !r.Inactive {
			t.Errorf("registry: %+v, %v", r, err)
		}
		asked = p.asked()
		time.Sleep(5 * 24 * time.Hour)
		if p.asked() == asked {
			t.Error("no polls after the publisher became inactive, want them until it is stopped")
		}
		time.Sleep(42 * time.Hour)
		asked = p.asked()
		time.Sleep(30 * 24 * time.Hour)
		if p.asked() != asked {
			t.Errorf("%d polls after 14 days without an answer", p.asked()-asked)
		}
		p.do(func() { p.headErr = nil })
		b := p.add(t, "b", hash(2))
		if err := n.Announce(t.Context(), b, p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		n.want(t, b, state.Indexed)
		if s := n.status(t, p); s.Inactive {
			t.Errorf("after it came back: %+v", s)
		}
		if r, err := n.registry.Provider(t.Context(), p.id); err != nil || r.Inactive {
			t.Errorf("registry: %+v, %v", r, err)
		}
	})
}

// Removal of a provider is complete, and holds for what is read later of its past.
func TestRemoveProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		old := p.add(t, "old", hash(1))
		hole := p.add(t, "hole", hash(2))
		p.fault(hole, errMissing)
		p.add(t, "a", hash(3))
		n := newNode(p).start(t, nil)
		n.Sync(t.Context(), p.info(), nil)
		if err := n.Remove(t.Context(), p.id); err != nil {
			t.Fatal(err)
		}
		if v := n.sink.view(); len(v) != 0 {
			t.Errorf("still found: %v", v)
		}
		if _, err := n.registry.Provider(t.Context(), p.id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("registry: %v", err)
		}
		p.fault(hole, nil)
		p.add(t, "new", hash(4))
		n.sync(t, p)
		time.Sleep(10 * time.Hour)
		n.want(t, old, state.Skipped)
		if d := cmp.Diff(1, len(n.sink.view())); d != "" || !n.sink.has(p.id, "new", 4) {
			t.Errorf("found %v, want what is new", n.sink.view())
		}
		if err := n.Restore(t.Context(), p.id); err != nil {
			t.Fatal(err)
		}
		if err := n.Sync(t.Context(), p.info(), &ingest.SyncOptions{Resync: true}); err != nil {
			t.Fatal(err)
		}
		same(t, n, p)
	})
}

// What is worked on while its provider is removed, by this node or by another, is gone with the rest, and so
// is its metadata, although no row tells of its context yet.
func TestRemoveProviderMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		a := p.add(t, "a", hash(1))
		n := newNode(p).start(t, nil)
		removed := false
		n.sink.fail = func(what string) error {
			if what == "put" && !removed {
				removed = true
				return n.Remove(t.Context(), p.id)
			}
			return nil
		}
		n.sync(t, p)
		n.want(t, a, state.Skipped)
		if v := n.sink.view(); !removed || len(v) != 0 {
			t.Errorf("still found: %v", v)
		}
		if _, err := n.registry.Provider(t.Context(), p.id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("registry: %v", err)
		}
	})
}

var _ ipni.Chain = (*publisher)(nil)
