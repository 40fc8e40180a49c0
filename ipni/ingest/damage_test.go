package ingest_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// spoil makes the rows with a prefix corrupt, and returns how many there are.
func (n *node) spoil(t *testing.T, prefix string) int {
	t.Helper()
	var ops []kv.Op
	for p, err := range n.kv.Scan(t.Context(), kv.Prefix([]byte(prefix))) {
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, kv.Put(p.Key, []byte{0xff, 0xff}))
	}
	if err := n.kv.Batch(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
	return len(ops)
}

// A corrupt row stops its publisher, which its status tells, and nobody else, also after a
// restart; a resync reads all of its chain anew.
func TestCorruptRows(t *testing.T) {
	p, hole := newPublisher(1), cid.Undef
	for name, prefix := range map[string]string{
		"publisher": "Nip" + string(p.id), "gap": "Nig" + string(p.id), "context": "Nix" + string(p.id), "retry": "Nit" + string(p.id),
		"advertisement": "Nia", "provider": "Np" + string(p.id), "extended": "Ne" + string(p.id), "removed": "Nir" + string(p.id),
		"progress": "Nib" + string(p.id), "segment": "Nis" + string(p.id),
	} {
		synctest.Test(t, func(t *testing.T) {
			p, q := newPublisher(1), newPublisher(2)
			p.add(t, "a", hash(1))
			hole = p.add(t, "hole", hash(2))
			p.add(t, "b", hash(3))
			missing := p.add(t, "c", hash(4), hash(5), hash(6), hash(7))
			p.remove(t, "a")
			p.add(t, "a", hash(8))
			p.fault(hole, errors.New("reset")) // leaves a gap
			for c := range p.blocks {
				if c == missingEntries(t, p, missing) {
					p.fault(c, errMissing) // leaves a retry
				}
			}
			n := newNode(p, q).start(t, nil)
			for range 3 {
				n.Sync(t.Context(), p.info(), nil)
			}
			n.stop()
			switch name {
			case "extended":
				set(t, n.kv, "Ne"+string(p.id)+"c")
			case "removed":
				set(t, n.kv, prefix)
			case "progress":
				set(t, n.kv, prefix+string(missing.Bytes()))
			case "segment":
				for g := range n.kv.Scan(t.Context(), kv.Prefix([]byte("Nig"+string(p.id)))) {
					set(t, n.kv, "Nis"+string(g.Key[3:]))
				}
			}
			if n.spoil(t, prefix) == 0 {
				t.Fatalf("%s: there is no row", name)
			}
			p.faults = map[cid.Cid]error{}
			p.add(t, "c", hash(9))
			q.add(t, "q", hash(10))
			n.start(t, nil)
			if err := n.Announce(t.Context(), cid.Undef, p.info()); err != nil {
				t.Errorf("%s: announce: %v", name, err)
			}
			time.Sleep(20 * time.Minute) // the retry is due
			n.sync(t, q)
			if _, err := n.Paused(); err != nil || n.paused > 0 {
				t.Errorf("%s: everything waits: %v", name, err)
			}
			all, err := n.Statuses(t.Context())
			if err != nil || len(all) != 2 {
				t.Errorf("%s: %d statuses, %v", name, len(all), err)
			}
			heals := name == "segment" || name == "extended"
			if s := n.status(t, p); !heals && (!s.Damaged || !strings.Contains(s.Error, "malformed") && !strings.Contains(s.Error, "stored row") || !strings.Contains(s.Error, "resync")) {
				t.Errorf("%s: status %+v", name, s)
			}
			asked := p.asked()
			time.Sleep(time.Hour)
			if got := p.asked() - asked; got > 40 {
				t.Errorf("%s: asked %d times for the head in an hour", name, got)
			}
			if err := n.Sync(t.Context(), peer.AddrInfo{ID: p.id, Addrs: p.info().Addrs}, &ingest.SyncOptions{Resync: true}); err != nil {
				t.Errorf("%s: resync: %v", name, err)
			}
			same(t, n, p, q)
			if s := n.status(t, p); s.Damaged || s.Error != "" || len(s.Gaps) != 0 {
				t.Errorf("%s: status after the resync %+v", name, s)
			}
			n.want(t, hole, state.Indexed)
			p.remove(t, "c")
			p.add(t, "d", hash(11))
			n.sync(t, p)
			same(t, n, p, q)
		})
	}
}

// missingEntries returns the second chunk of an advertisement.
func missingEntries(t *testing.T, p *publisher, c cid.Cid) cid.Cid {
	t.Helper()
	root := decodeAd(t, p, c).Entries
	e := decodeEntries(t, p, root)
	return e.Links[0]
}

// set writes a row that will be spoiled.
func set(t *testing.T, store kv.Store, key string) {
	t.Helper()
	if err := store.Batch(t.Context(), []kv.Op{kv.Put([]byte(key), []byte{1})}); err != nil {
		t.Fatal(err)
	}
}

// What the store of records says of a corrupt row concerns the publisher, too.
func TestCorruptRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newPublisher(1), newPublisher(2)
		a := p.add(t, "a", hash(1))
		q.add(t, "q", hash(2))
		n := newNode(p, q)
		corrupt := true
		n.sink.fail = func(what string) error {
			if what == "metadata" && corrupt {
				corrupt = false
				return digest.ErrMismatch
			}
			return nil
		}
		n.start(t, nil)
		if err := n.Sync(t.Context(), p.info(), nil); !errors.Is(err, digest.ErrMismatch) && err != nil {
			t.Errorf("sync: %v", err)
		}
		n.sync(t, q)
		if _, err := n.Paused(); err != nil || n.paused > 0 {
			t.Errorf("everything waits: %v", err)
		}
		time.Sleep(time.Hour) // it was repaired
		n.want(t, a, state.Indexed)
	})
}

// Removal works though rows of the provider are corrupt, and what it says from then on counts.
func TestRemoveCorrupt(t *testing.T) {
	for _, prefix := range []string{"Nix", "Nir", "Np", "Nip", "Nig"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPublisher(1)
			p.add(t, "a", hash(1))
			n := newNode(p).start(t, nil)
			n.sync(t, p)
			set(t, n.kv, prefix+string(p.id))
			if prefix == "Nig" {
				set(t, n.kv, prefix+string(p.id)+"12345678")
			}
			n.spoil(t, prefix+string(p.id))
			if err := n.Remove(t.Context(), p.id); err != nil {
				t.Fatalf("%s: %v", prefix, err)
			}
			if got := n.sink.records(); got != 0 {
				t.Errorf("%s: %d records are left", prefix, got)
			}
			p.add(t, "b", hash(2))
			n.sync(t, p)
			if !n.sink.has(p.id, "b", 2) || n.sink.has(p.id, "a", 1) {
				t.Errorf("%s: found %v", prefix, n.sink.view())
			}
			if s := n.status(t, p); s.Error != "" {
				t.Errorf("%s: status %+v", prefix, s)
			}
			if _, err := n.registry.Provider(t.Context(), p.id); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", prefix, err)
			}
		})
	}
}
