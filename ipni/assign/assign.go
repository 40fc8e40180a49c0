// Package assign gives publishers to the nodes that follow them. Each publisher has as many leases
// as it shall have followers; a node claims leases until it has its fair share, hands some over when
// another joins, and takes over those of a node that died. There is nobody in charge: the
// nodes agree through rows in a [kv.Store], and docs/formats/cluster.md gives them.
//
// # Who holds a lease
//
// A lease lasts as long as the heartbeat of its holder moves, see [cluster.Session]. A holder whose
// heartbeats were not written for two thirds of the TTL stops; others take its leases after a
// whole one. So the holder has a third of the TTL to end what it does. A holder that a
// stopped machine kept from noticing may still be late: each claim has a larger
// token than those before it, by which a store can tell.
//
// # Errors
//
// A publisher that has no row matches [io/fs.ErrNotExist], a malformed row
// [digest.ErrMismatch], malformed arguments [io/fs.ErrInvalid]. The context of work that must stop
// because the lease is lost has the cause [ErrLost].
//
// An Assigner is safe for concurrent use.
package assign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/kv"
)

// ErrLost is why work must stop at once.
var ErrLost = errors.New("assign: the lease is lost")

// prefix of the keys, which the bytes of the publisher's id follow.
const prefix = "Nap"

// Held is a lease that somebody has.
type Held struct {
	Holder string `json:"holder"` // a member
	Token  uint64 `json:"token"`
}

// Publisher is the row of a publisher.
type Publisher struct {
	ID        peer.ID  `json:"-"`
	Token     uint64   `json:"token"` // the largest that was given
	Leases    []Held   `json:"leases,omitempty"`
	Pinned    []string `json:"pinned,omitempty"`    // members that are to follow it, whatever else they do
	Barred    []string `json:"barred,omitempty"`    // members that must not
	Preferred []string `json:"preferred,omitempty"` // members that have its data, and so go first
}

// maxList is how many members a list of a row may have.
const maxList = 64

func (p *Publisher) check() error {
	if len(p.Leases)+len(p.Pinned)+len(p.Barred)+len(p.Preferred) > 4*maxList {
		return errors.New("too many members")
	}
	names := slices.Concat(p.Pinned, p.Barred, p.Preferred)
	seen := map[string]bool{}
	for _, l := range p.Leases {
		if l.Token > p.Token || seen[l.Holder] {
			return fmt.Errorf("lease of %q", l.Holder)
		}
		seen[l.Holder] = true
		names = append(names, l.Holder)
	}
	for _, id := range names {
		if err := cluster.CheckID(id); err != nil {
			return err
		}
	}
	return nil
}

// lease returns the lease of a member.
func (p *Publisher) lease(id string) (Held, bool) {
	i := slices.IndexFunc(p.Leases, func(h Held) bool { return h.Holder == id })
	if i < 0 {
		return Held{}, false
	}
	return p.Leases[i], true
}

// release takes the lease of a member away.
func (p *Publisher) release(id string) {
	p.Leases = slices.DeleteFunc(p.Leases, func(h Held) bool { return h.Holder == id })
}

// decode reads a row, which must be exactly what encode makes of it.
func decode(key, b []byte) (*Publisher, error) {
	p := &Publisher{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(p)
	if err == nil {
		err = p.check()
	}
	if err == nil && !bytes.Equal(encode(p), b) {
		err = errors.New("not in the canonical form")
	}
	if err == nil {
		p.ID, err = peer.IDFromBytes(bytes.TrimPrefix(key, []byte(prefix)))
	}
	if err != nil {
		return nil, fmt.Errorf("assign: row %q: %w: %w", key, digest.ErrMismatch, err)
	}
	return p, nil
}

func encode(p *Publisher) []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers
	}
	return b
}

// Table is the rows of all publishers.
type Table struct{ store kv.Store }

// NewTable returns the table whose rows are in store.
func NewTable(store kv.Store) *Table { return &Table{store} }

// All yields the publishers in the order of the bytes of their ids.
func (t *Table) All(ctx context.Context) iter.Seq2[*Publisher, error] {
	return func(yield func(*Publisher, error) bool) {
		for pair, err := range t.store.Scan(ctx, kv.Prefix([]byte(prefix))) {
			var p *Publisher
			if err == nil {
				p, err = decode(pair.Key, pair.Value)
			} else {
				err = fmt.Errorf("assign: list publishers: %w", err)
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// Publisher returns the row of a publisher.
func (t *Table) Publisher(ctx context.Context, id peer.ID) (*Publisher, error) {
	key := []byte(prefix + string(id))
	b, err := t.store.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("assign: publisher %s: %w", id, err)
	}
	return decode(key, b)
}

// Add makes a publisher one that is to be followed, and adds to the members that go first. What is
// there already stays.
func (t *Table) Add(ctx context.Context, id peer.ID, preferred ...string) error {
	return t.update(ctx, id, true, func(p *Publisher) error {
		p.Preferred = union(p.Preferred, preferred)
		return nil
	})
}

// Assign makes a member follow a publisher whatever else it does. One that is not pinned hands
// over its lease if there is no other.
func (t *Table) Assign(ctx context.Context, id peer.ID, member string) error {
	return t.update(ctx, id, true, func(p *Publisher) error {
		p.Pinned = union(p.Pinned, []string{member})
		p.Barred = without(p.Barred, member)
		return nil
	})
}

// Unassign keeps a member from following a publisher.
func (t *Table) Unassign(ctx context.Context, id peer.ID, member string) error {
	return t.update(ctx, id, false, func(p *Publisher) error {
		p.Barred = union(p.Barred, []string{member})
		p.Pinned, p.Preferred = without(p.Pinned, member), without(p.Preferred, member)
		return nil
	})
}

// Free undoes Assign and Unassign.
func (t *Table) Free(ctx context.Context, id peer.ID, member string) error {
	return t.update(ctx, id, false, func(p *Publisher) error {
		p.Barred, p.Pinned = without(p.Barred, member), without(p.Pinned, member)
		return nil
	})
}

// Remove removes a publisher. Those that follow it stop.
func (t *Table) Remove(ctx context.Context, id peer.ID) error {
	if err := t.store.Batch(ctx, []kv.Op{kv.Delete([]byte(prefix + string(id)))}); err != nil {
		return fmt.Errorf("assign: remove publisher %s: %w", id, err)
	}
	return nil
}

func union(list, more []string) []string {
	for _, id := range more {
		if !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}

func without(list []string, id string) []string {
	return slices.DeleteFunc(list, func(x string) bool { return x == id })
}

// update changes a row atomically. create allows that there is none.
func (t *Table) update(ctx context.Context, id peer.ID, create bool, f func(*Publisher) error) error {
	key := []byte(prefix + string(id))
	err := id.Validate()
	if err != nil {
		return fmt.Errorf("assign: publisher: %w: %w", fs.ErrInvalid, err)
	}
	err = t.store.Update(ctx, key, func(old []byte) ([]byte, error) {
		p := &Publisher{}
		if old != nil {
			if p, err = decode(key, old); err != nil {
				return nil, err
			}
		} else if !create {
			return nil, fs.ErrNotExist
		}
		if err := f(p); err != nil {
			return nil, err
		}
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", fs.ErrInvalid, err)
		}
		return encode(p), nil
	})
	if err != nil {
		return fmt.Errorf("assign: publisher %s: %w", id, err)
	}
	return nil
}
