package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/hashstream/hashstream/kv"
)

// State is how much of a partition a replica has.
type State string

// The states.
const (
	Ready   State = "ready"   // all that was acknowledged; its absence counts
	Filling State = "filling" // what is written now, and more and more of what was before
	Behind  State = "behind"  // it missed a write, and gets none until it begins to fill
)

// Replica is a member's copy of a partition.
type Replica struct {
	ID    string `json:"id"`
	State State  `json:"state"`
	Since uint64 `json:"since"` // the epoch in which it got into this state
}

// Leaving is a member that is to drop its copy.
type Leaving struct {
	ID    string `json:"id"`
	Since uint64 `json:"since"`
}

// Row is a partition. Its epoch grows with each change.
type Row struct {
	Epoch    uint64    `json:"epoch"`
	Replicas []Replica `json:"replicas"`
	Leaving  []Leaving `json:"leaving,omitempty"`
}

func (r *Row) check() error {
	names := map[string]bool{}
	add := func(id string, since uint64) error {
		if err := CheckID(id); err != nil {
			return err
		}
		if names[id] || since > r.Epoch {
			return fmt.Errorf("replica %q twice, or of a later epoch", id)
		}
		names[id] = true
		return nil
	}
	if len(r.Replicas)+len(r.Leaving) > 64 {
		return errors.New("more than 64 replicas")
	}
	for _, x := range r.Replicas {
		if err := add(x.ID, x.Since); err != nil {
			return err
		}
		if x.State != Ready && x.State != Filling && x.State != Behind {
			return fmt.Errorf("state %q", x.State)
		}
	}
	for _, x := range r.Leaving {
		if err := add(x.ID, x.Since); err != nil {
			return err
		}
	}
	return nil
}

// Replica returns the copy of a member.
func (r *Row) Replica(id string) (Replica, bool) {
	i := slices.IndexFunc(r.Replicas, func(x Replica) bool { return x.ID == id })
	if i < 0 {
		return Replica{}, false
	}
	return r.Replicas[i], true
}

// Leaves reports whether a member is to drop its copy.
func (r *Row) Leaves(id string) (Leaving, bool) {
	i := slices.IndexFunc(r.Leaving, func(x Leaving) bool { return x.ID == id })
	if i < 0 {
		return Leaving{}, false
	}
	return r.Leaving[i], true
}

// Set gives a member's copy a state, which counts as new even if it is the same. A member that
// was to drop its copy no longer is. Use it in [Table.Update] only.
func (r *Row) Set(id string, state State) {
	r.Stay(id)
	i := slices.IndexFunc(r.Replicas, func(x Replica) bool { return x.ID == id })
	if i < 0 {
		i = len(r.Replicas)
		r.Replicas = append(r.Replicas, Replica{})
	}
	r.Replicas[i] = Replica{id, state, r.Epoch}
}

// Drop makes a member drop its copy. Use it in [Table.Update] only.
func (r *Row) Drop(id string) {
	r.Replicas = slices.DeleteFunc(r.Replicas, func(x Replica) bool { return x.ID == id })
	r.Leaving = append(r.Leaving, Leaving{id, r.Epoch})
}

// Stay takes a member from those that are to drop their copies. Use it in [Table.Update] only.
func (r *Row) Stay(id string) {
	r.Leaving = slices.DeleteFunc(r.Leaving, func(x Leaving) bool { return x.ID == id })
}

// Count returns how many copies are in a state.
func (r *Row) Count(state State) (n int) {
	for _, x := range r.Replicas {
		if x.State == state {
			n++
		}
	}
	return n
}

// same reports whether r differs from other in nothing but the epoch.
func (r *Row) same(other *Row) bool {
	return slices.Equal(r.Replicas, other.Replicas) && slices.Equal(r.Leaving, other.Leaving)
}

func (r *Row) clone() *Row {
	return &Row{r.Epoch, slices.Clone(r.Replicas), slices.Clone(r.Leaving)}
}

// Table is which members have which partitions.
type Table struct {
	store kv.Store

	mu   sync.Mutex
	raw  [Partitions][]byte // the rows as they were read last, most of which do not change
	rows [Partitions]Row
}

// NewTable returns the table whose rows are in store.
func NewTable(store kv.Store) *Table { return &Table{store: store} }

func partitionKey(p byte) string { return partitionPrefix + string([]byte{p}) }

// Load reads all rows. A partition that has none has no replicas and epoch 0.
func (t *Table) Load(ctx context.Context) (*[Partitions]Row, error) {
	var rows [Partitions]Row
	for pair, err := range t.store.Scan(ctx, kv.Prefix([]byte(partitionPrefix))) {
		if err == nil && len(pair.Key) != len(partitionPrefix)+1 {
			err = fmt.Errorf("key %q", pair.Key)
		}
		if err == nil {
			p := pair.Key[len(pair.Key)-1]
			rows[p], err = t.decode(p, pair)
		}
		if err != nil {
			return nil, fmt.Errorf("cluster: load table: %w", err)
		}
	}
	return &rows, nil
}

// decode reads a row, if it is not as it was.
func (t *Table) decode(p byte, pair kv.Pair) (Row, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.raw[p] != nil && bytes.Equal(t.raw[p], pair.Value) {
		return *t.rows[p].clone(), nil
	}
	var row Row
	if err := decode(pair.Key, pair.Value, &row); err != nil {
		return Row{}, err
	}
	t.raw[p], t.rows[p] = bytes.Clone(pair.Value), *row.clone()
	return row, nil
}

// Update changes a row atomically, and returns it as it is then. f is called with the epoch
// that the row gets if it changes, and may be called more than once.
func (t *Table) Update(ctx context.Context, p byte, f func(*Row) error) (Row, error) {
	var result Row
	err := update(ctx, t.store, partitionKey(p), func(row *Row, _ bool) (bool, error) {
		next := row.clone()
		next.Epoch++
		if err := f(next); err != nil {
			return false, err
		}
		if next.same(row) {
			result = *row
			return false, nil
		}
		*row, result = *next, *next
		return true, nil
	})
	if err != nil {
		return Row{}, fmt.Errorf("cluster: partition %02x: %w", p, err)
	}
	return result, nil
}

// Row reads one row. One that is not there has no replicas and epoch 0.
func (t *Table) Row(ctx context.Context, p byte) (Row, error) {
	var row Row
	b, err := t.store.Get(ctx, []byte(partitionKey(p)))
	if err == nil {
		err = decode([]byte(partitionKey(p)), b, &row)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Row{}, fmt.Errorf("cluster: partition %02x: %w", p, err)
	}
	return row, nil
}

// Found gives every partition that has no row to one member, as it is: what is in its store
// is the start of the cluster. So a single node that has become the first of many keeps
// what it has.
func (t *Table) Found(ctx context.Context, id string) error {
	for p := range Partitions {
		_, err := t.Update(ctx, byte(p), func(r *Row) error {
			if r.Epoch == 1 {
				r.Set(id, Ready)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Promote declares a member's copy to be in sync although it is not known to be: the
// last resort of an operator when every copy that was in sync is lost for good.
func (t *Table) Promote(ctx context.Context, p byte, id string) error {
	_, err := t.Update(ctx, p, func(r *Row) error {
		if _, ok := r.Replica(id); !ok {
			return fmt.Errorf("%q has no copy", id)
		}
		r.Set(id, Ready)
		return nil
	})
	return err
}

// Miss marks every copy of a member not in has as behind, on condition that one in
// has is in sync, and fails with [ErrUnavailable] else. Only after that a write counts that a
// replica failed to take.
func (t *Table) Miss(ctx context.Context, p byte, has map[string]bool) error {
	_, err := t.Update(ctx, p, func(r *Row) error {
		if !slices.ContainsFunc(r.Replicas, func(x Replica) bool { return x.State == Ready && has[x.ID] }) {
			return ErrUnavailable
		}
		for _, x := range r.Replicas {
			if !has[x.ID] && x.State != Behind {
				r.Set(x.ID, Behind)
			}
		}
		return nil
	})
	return err
}
