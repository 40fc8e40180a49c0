package rebalance

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"

	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

// errChanged is that the table no longer asks for what is being done.
var errChanged = errors.New("rebalance: the table has changed")

// source is the copy that a fill reads.
type source struct {
	cluster.Replica
	member cluster.Member
}

// source chooses a copy in sync on a member that is alive.
func (a *Agent) source(row *cluster.Row, members []cluster.Status) (source, bool) {
	var all []source
	for _, x := range row.Replicas {
		for _, m := range members {
			if m.ID == x.ID && m.Alive && x.State == cluster.Ready && x.ID != a.session.ID() {
				all = append(all, source{x, m.Member})
			}
		}
	}
	if len(all) == 0 {
		return source{}, false
	}
	return all[rand.IntN(len(all))], true
}

// refill makes the copy of a partition ready.
func (a *Agent) refill(ctx context.Context, p byte, j *job, from source) error {
	node, err := a.dial(from.member)
	if err != nil {
		return fmt.Errorf("rebalance: reach %q: %w", from.ID, err)
	}
	key := []byte(cursorPrefix + string([]byte{p}) + a.session.ID())
	at, err := loadCursor(ctx, a.store, key)
	if err != nil {
		return err
	}
	if at.Store != a.session.Store() || at.Since != j.since || at.Next != "" && !at.Done && at.key()[0] != p {
		at = cursor{Since: j.since, Store: a.session.Store()}
	}
	work := &pull{to: a.replica, fill: j.fill, from: node, limit: a.limit, window: a.opts.Window, batch: a.opts.Batch, stall: a.members.Timing().Write}
	whole := cluster.PartitionRange(p)
	for !at.Done {
		r := whole
		if at.Next != "" {
			r.From = at.key()
		}
		next, more, err := work.records(ctx, r)
		if err == nil {
			err = a.still(ctx, p, j, from)
		}
		if err != nil {
			return fmt.Errorf("rebalance: fill from %q: %w", from.ID, err)
		}
		at.Next, at.Done = hex.EncodeToString(next[:]), !more
		if err := a.store.Batch(ctx, []kv.Op{kv.Put(key, at.encode())}); err != nil {
			return err
		}
	}
	if err := work.metadata(ctx, whole); err != nil {
		return fmt.Errorf("rebalance: fill from %q: %w", from.ID, err)
	}
	if err := a.still(ctx, p, j, from); err != nil {
		return err
	}
	_, err = a.table.Update(ctx, p, func(r *cluster.Row) error {
		if x, ok := r.Replica(a.session.ID()); !ok || x.State != cluster.Filling || x.Since != j.since {
			return errChanged
		}
		r.Set(a.session.ID(), cluster.Ready)
		return nil
	})
	if err != nil {
		return err
	}
	// The work is over, and its context may be: who sees the row ends what it no longer asks for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.members.Timing().Write)
	defer cancel()
	return a.store.Batch(ctx, []kv.Op{kv.Delete(key)})
}

// still returns an error unless this copy is still to be filled, and the one that was read was
// in sync all the time that it was read.
func (a *Agent) still(ctx context.Context, p byte, j *job, from source) error {
	row, err := a.table.Row(ctx, p)
	if err != nil {
		return err
	}
	own, ok := row.Replica(a.session.ID())
	theirs, okay := row.Replica(from.ID)
	if !ok || own.State != cluster.Filling || own.Since != j.since || !okay || theirs != from.Replica {
		return errChanged
	}
	return nil
}

// drop deletes what the store has of a partition, and says so in the table.
func (a *Agent) drop(ctx context.Context, p byte, j *job) error {
	r := cluster.PartitionRange(p)
	var pending []cluster.Record
	size := 0
	flush := func() error {
		if err := (&pull{limit: a.limit}).pay(ctx, size); err != nil {
			return err
		}
		if row, err := a.table.Row(ctx, p); err != nil {
			return err
		} else if x, ok := row.Leaves(a.session.ID()); !ok || x.Since != j.since {
			return errChanged
		}
		err := write(ctx, a.replica.node, nil, pending)
		pending, size = nil, 0
		return err
	}
	for x, err := range a.replica.node.ExportSealed(ctx, r) {
		if err != nil {
			return err
		}
		x.Value = bytes.Clone(x.Value)
		pending = append(pending, x)
		if size += len(x.Key) + len(x.Value); size >= a.opts.Batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := a.dropMetadata(ctx, r); err != nil {
		return err
	}
	_, err := a.table.Update(ctx, p, func(r *cluster.Row) error {
		if x, ok := r.Leaves(a.session.ID()); ok && x.Since == j.since {
			r.Stay(a.session.ID())
		}
		return nil
	})
	return err
}

func (a *Agent) dropMetadata(ctx context.Context, r valuestore.Range) error {
	var keys []dhash.MetadataKey
	for m, err := range a.replica.node.ExportMetadata(ctx, r) {
		if err != nil {
			return err
		}
		keys = append(keys, m.Key)
	}
	for _, key := range keys {
		if err := a.replica.node.PutSealedMetadata(ctx, key, nil); err != nil {
			return err
		}
	}
	return nil
}

// cursorPrefix begins the keys of cursors; the byte of the partition and the id of the member follow.
const cursorPrefix = "Ncf"

// cursor is how far a fill has come.
type cursor struct {
	Since uint64 `json:"since"`           // the epoch in which the copy began to fill
	Next  string `json:"next"`            // the first key that was not compared, in hex; "" is the first of all
	Done  bool   `json:"done"`            // all keys were compared
	Store string `json:"store,omitempty"` // that is filled
}

func (c cursor) key() dhash.Key {
	b, err := hex.DecodeString(c.Next)
	if err != nil || len(b) != dhash.KeySize {
		return dhash.Key{}
	}
	return dhash.Key(b)
}

func (c cursor) encode() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers and strings
	}
	return b
}

// loadCursor reads a cursor. One that is absent or malformed is the beginning.
func loadCursor(ctx context.Context, store kv.Store, key []byte) (cursor, error) {
	b, err := store.Get(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return cursor{}, nil
	}
	if err != nil {
		return cursor{}, fmt.Errorf("rebalance: cursor: %w", err)
	}
	c, _ := parseCursor(b)
	return c, nil
}

// parseCursor reads a cursor, which must be exactly what encode makes of it.
func parseCursor(b []byte) (c cursor, ok bool) {
	if json.Unmarshal(b, &c) != nil || !bytes.Equal(c.encode(), b) || c.Next != "" && c.hex() != c.Next {
		return cursor{}, false
	}
	return c, true
}

func (c cursor) hex() string {
	key := c.key()
	return hex.EncodeToString(key[:])
}
