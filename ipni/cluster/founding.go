package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/hashstream/hashstream/kv"
)

// Founding is what a table is of. Stores remember it, so that none of them takes part in a table that
// knows nothing of it.
type Founding struct {
	ID    string `json:"id"`    // of the cluster, which no other one has
	Store string `json:"store"` // the store whose records the cluster began with; "" is not known
}

func (f *Founding) check() error {
	if len(f.Store) > maxName {
		return errors.New("name of a store too long")
	}
	return CheckID(f.ID)
}

// Founding returns what the table is of, or an error that matches [fs.ErrNotExist] if that was not said yet.
func (t *Table) Founding(ctx context.Context) (Founding, error) {
	var f Founding
	b, err := t.store.Get(ctx, []byte(foundingKey))
	if err == nil {
		err = decode([]byte(foundingKey), b, &f)
	}
	if err != nil {
		return Founding{}, fmt.Errorf("cluster: founding: %w", err)
	}
	return f, nil
}

// Begin makes the table that of a new cluster, unless it is of one, and returns what it is of then.
func (t *Table) Begin(ctx context.Context, f Founding) (Founding, error) {
	err := update(ctx, t.store, foundingKey, func(row *Founding, exists bool) (bool, error) {
		if exists {
			f = *row
		}
		*row = f
		return !exists, nil
	})
	return f, err
}

// Again makes the table that of a new cluster in which one member has all partitions, with what is in its store,
// whatever there was before. No member may be at work.
func (t *Table) Again(ctx context.Context, f Founding, id string) error {
	if err := t.store.Batch(ctx, []kv.Op{kv.Delete([]byte(foundingKey)), kv.Delete([]byte(memberPrefix + id))}); err != nil {
		return err
	}
	if now, err := t.Begin(ctx, f); err != nil || now != f {
		return errors.Join(err, fmt.Errorf("cluster: another store founds %q", now.ID))
	}
	for p := range Partitions {
		_, err := t.Update(ctx, byte(p), func(r *Row) error {
			r.Replicas, r.Leaving = nil, nil
			r.Set(id, Ready)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Distrust marks all copies of a member as behind, because its store is not the one that they were in. It fails with
// [ErrUnavailable], and marks none, if the only ones in sync are among them; it returns how many these are.
func (t *Table) Distrust(ctx context.Context, id string) (only int, err error) {
	rows, err := t.Load(ctx)
	if err != nil {
		return 0, err
	}
	if h := Holdings(rows)[id]; h.Only > 0 {
		return h.Only, ErrUnavailable
	}
	for p := range rows {
		if _, ok := rows[p].Replica(id); !ok {
			continue
		}
		_, err := t.Update(ctx, byte(p), func(r *Row) error {
			x, ok := r.Replica(id)
			if ok && x.State == Ready && r.Count(Ready) == 1 {
				only++
				return ErrUnavailable
			}
			if ok {
				r.Set(id, Behind)
			}
			return nil
		})
		if err != nil {
			return only, err
		}
	}
	return 0, nil
}

// Find returns the row of a member, or an error that matches [fs.ErrNotExist].
func (m *Members) Find(ctx context.Context, id string) (Member, error) {
	all, err := m.List(ctx)
	if err != nil {
		return Member{}, err
	}
	if i := slices.IndexFunc(all, func(s Status) bool { return s.ID == id }); i >= 0 {
		return all[i].Member, nil
	}
	return Member{}, fmt.Errorf("cluster: member %q: %w", id, fs.ErrNotExist)
}
