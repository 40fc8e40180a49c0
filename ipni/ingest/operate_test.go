package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// TestRegister stores what a provider signed, in the order of its sequence numbers, until an
// advertisement that is newer says otherwise; one that is older and met later does not.
func TestRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		hole := p.add(t, "old", hash(1))
		p.fault(hole, errMissing)
		p.add(t, "a", hash(2))
		n := newNode(p).start(t, nil)
		n.Announce(t.Context(), p.signed, p.info())
		time.Sleep(time.Minute)
		register := func(seq uint64, texts ...string) error {
			info := peer.AddrInfo{ID: p.id}
			for _, text := range texts {
				info.Addrs = append(info.Addrs, addr(text))
			}
			return n.Register(t.Context(), info, seq)
		}
		want := func(text string) {
			t.Helper()
			r, err := n.registry.Provider(t.Context(), p.id)
			if err != nil || len(r.Addrs) != 1 || r.Addrs[0].String() != text {
				t.Errorf("addresses %v, %v; want %s", r.Addrs, err, text)
			}
		}
		const first, second = "/dns4/first.example/tcp/1", "/dns4/second.example/tcp/2"
		for _, x := range []struct {
			seq   uint64
			addrs []string
			err   error
			after string
		}{
			{7, []string{first, "/ip4/10.0.0.1/tcp/1"}, nil, first},
			{7, []string{second}, fs.ErrInvalid, first},
			{6, []string{second}, fs.ErrInvalid, first},
			{8, []string{"/ip4/127.0.0.1/tcp/1"}, fs.ErrPermission, first},
			{8, nil, fs.ErrPermission, first},
			{8, []string{second}, nil, second},
		} {
			if err := register(x.seq, x.addrs...); !errors.Is(err, x.err) {
				t.Errorf("%d %q: %v, want %v", x.seq, x.addrs, err, x.err)
			}
			want(x.after)
		}
		before, err := n.registry.Provider(t.Context(), p.id)
		if err != nil || !before.LastAdvertisement.Defined() {
			t.Errorf("the rest of what is known is gone: %+v, %v", before, err)
		}

		p.fault(hole, nil)
		n.sync(t, p)
		n.want(t, hole, state.Indexed)
		want(second)
		p.add(t, "b", hash(3))
		n.sync(t, p)
		r, err := n.registry.Provider(t.Context(), p.id)
		if err != nil || len(r.Addrs) != 1 || r.Addrs[0].String() == second {
			t.Errorf("an advertisement that is newer did not replace %s: %v, %v", second, r.Addrs, err)
		}
		if err := n.Block(t.Context(), p.id); err != nil {
			t.Fatal(err)
		}
		if err := register(9, first); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("of a blocked provider: %v", err)
		}
	})
}

// slowRegister is a store in which the rows of a registration take a second to be written.
type slowRegister struct{ kv.Store }

func (s slowRegister) Batch(ctx context.Context, ops []kv.Op) error {
	for _, op := range ops {
		if bytes.HasPrefix(op.Key, []byte("Niq")) {
			time.Sleep(time.Second)
		}
	}
	return s.Store.Batch(ctx, ops)
}

// TestRegisterWhileIngesting loses neither addresses nor the last advertisement if both come at once.
func TestRegisterWhileIngesting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		a := p.add(t, "a", hash(1))
		n := newNode(p)
		n.kv = slowRegister{n.kv}
		n.start(t, nil)
		if err := n.Announce(t.Context(), a, p.info()); err != nil {
			t.Fatal(err)
		}
		if err := n.Register(t.Context(), peer.AddrInfo{ID: p.id, Addrs: []multiaddr.Multiaddr{addr("/dns4/x.example/tcp/1")}}, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		n.want(t, a, state.Indexed)
		r, err := n.registry.Provider(t.Context(), p.id)
		if err != nil || r.LastAdvertisement != a || len(r.Addrs) != 1 {
			t.Errorf("last advertisement %s, want %s; addresses %v, %v", r.LastAdvertisement, a, r.Addrs, err)
		}
	})
}

// TestMarkProcessed ends a chain at what was marked, also one that is stuck there.
func TestMarkProcessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		oldest := p.add(t, "oldest", hash(1))
		bad := p.add(t, "bad", hash(2))
		a := p.add(t, "a", hash(3))
		p.fault(bad, errMissing)
		n := newNode(p).start(t, nil)
		n.Announce(t.Context(), a, p.info())
		time.Sleep(time.Minute)
		n.want(t, a, state.Indexed)
		if s := n.status(t, p); len(s.Gaps) != 1 {
			t.Fatalf("gaps %+v, want one that is stuck", s.Gaps)
		}
		if err := n.MarkProcessed(t.Context(), p.id, bad); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour * 6)
		if s := n.status(t, p); len(s.Gaps) != 0 || s.Lag != 0 {
			t.Errorf("left after the mark: %+v", s)
		}
		n.want(t, bad, state.Indexed)
		n.want(t, oldest, state.Unknown)
		b := p.add(t, "b", hash(4))
		n.sync(t, p)
		n.want(t, b, state.Indexed)
		if n.sink.has(p.id, "bad", 2) || !n.sink.has(p.id, "b", 4) {
			t.Errorf("records: %v", n.sink.view())
		}
		if err := n.MarkProcessed(t.Context(), p.id, a); err != nil {
			t.Fatal(err)
		}
		if s := n.want(t, a, state.Indexed); s.Count == 0 {
			t.Error("the mark replaced what is known of an advertisement that was processed")
		}
		if err := n.MarkProcessed(t.Context(), p.id, cid.Undef); err == nil {
			t.Error("marked nothing")
		}
		// Reading all again takes what is older than what was marked as well, if it can be had.
		p.fault(bad, nil)
		if err := n.Sync(t.Context(), p.info(), &ingest.SyncOptions{Resync: true}); err != nil {
			t.Fatal(err)
		}
		if !n.sink.has(p.id, "bad", 2) {
			t.Errorf("records after a resync: %v", n.sink.view())
		}
	})
}
