package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/kv"
)

// A publisher that answers again is found again, also if it has nothing new.
func TestInactiveNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.add(t, "a", hash(1))
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		p.do(func() { p.headErr = errors.New("no route to host") })
		time.Sleep(10 * 24 * time.Hour)
		if r, err := n.registry.Provider(t.Context(), p.id); err != nil || !r.Inactive {
			t.Fatalf("registry: %+v, %v; want it inactive", r, err)
		}
		p.do(func() { p.headErr = nil })
		time.Sleep(24 * time.Hour)
		if r, err := n.registry.Provider(t.Context(), p.id); err != nil || r.Inactive || r.LastAdvertisement != p.head() {
			t.Errorf("registry: %+v, %v; want it active", r, err)
		}
	})
}

// slowRows is a store in which writes of rows with a key that begins so take a second.
type slowRows struct {
	kv.Store
	prefix []byte
}

func (s slowRows) Batch(ctx context.Context, ops []kv.Op) error {
	for _, op := range ops {
		if bytes.HasPrefix(op.Key, s.prefix) {
			time.Sleep(time.Second)
		}
	}
	return s.Store.Batch(ctx, ops)
}

// Addresses that a provider signs while it is found to be inactive are not overwritten by those before.
func TestInactiveWhileRegistering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.add(t, "a", hash(1))
		n := newNode(p)
		slow := slowRows{n.kv, []byte("Np" + string(p.id))}
		n.kv = slow
		n.start(t, nil)
		n.sync(t, p)
		var registered error
		p.do(func() {
			p.onHead = func() error {
				if time.Since(n.status(t, p).ContactAt) > 7*24*time.Hour {
					p.do(func() { p.onHead, p.headErr = nil, errors.New("no route to host") })
					go func() {
						time.Sleep(time.Millisecond) // in the midst of what the turn writes
						registered = n.Register(t.Context(), peer.AddrInfo{ID: p.id, Addrs: []multiaddr.Multiaddr{addr("/dns4/x.example/tcp/1")}}, 1)
					}()
				}
				return errors.New("no route to host")
			}
		})
		time.Sleep(10 * 24 * time.Hour)
		r, err := n.registry.Provider(t.Context(), p.id)
		if err != nil || registered != nil || !r.Inactive || len(r.Addrs) != 1 || r.Addrs[0].String() != "/dns4/x.example/tcp/1" {
			t.Errorf("registry: %+v, %v, %v", r, err, registered)
		}
	})
}

// What a provider advertises after its removal has begun stays.
func TestRemoveProviderKeepsNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.add(t, "a", hash(1))
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		b := p.add(t, "b", hash(2))
		begun := false
		n.sink.fail = func(what string) error {
			if what == "remove" && !begun {
				begun = true
				n.sink.mu.Unlock()
				n.sync(t, p)
				n.sink.mu.Lock()
			}
			return nil
		}
		if err := n.Remove(t.Context(), p.id); err != nil {
			t.Fatal(err)
		}
		r, err := n.registry.Provider(t.Context(), p.id)
		if err != nil || r.LastAdvertisement != b || !begun {
			t.Errorf("registry: %+v, %v; want what is newer than the removal", r, err)
		}
		if !n.sink.has(p.id, "b", 2) || n.sink.has(p.id, "a", 1) {
			t.Errorf("found %v", n.sink.view())
		}
	})
}
