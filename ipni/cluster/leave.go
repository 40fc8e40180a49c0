package cluster

import (
	"context"
	"slices"
)

// Holding is what a member has.
type Holding struct {
	Copies  int // of partitions, in any state
	Ready   int // those of them that are in sync
	Leaving int // that it is to drop
	Only    int // that are the only ones in sync
}

// Empty reports whether a member has nothing.
func (h Holding) Empty() bool { return h.Copies+h.Leaving == 0 }

// Holdings returns what each member has that a table names.
func Holdings(rows *[Partitions]Row) map[string]Holding {
	all := map[string]Holding{}
	for _, row := range rows {
		for _, x := range row.Replicas {
			h := all[x.ID]
			h.Copies++
			if x.State == Ready {
				h.Ready++
				if row.Count(Ready) == 1 {
					h.Only++
				}
			}
			all[x.ID] = h
		}
		for _, x := range row.Leaving {
			h := all[x.ID]
			h.Leaving++
			all[x.ID] = h
		}
	}
	return all
}

// Abandon gives up the copies of a member that will not come back. Where it had the only one in
// sync, another counts as in sync from now on although it is not, as after [Table.Promote]: the one
// that has most, or an empty one if there is none. It returns for how many partitions that was so.
// What is missing there must be written anew.
func (t *Table) Abandon(ctx context.Context, id string, members []Status) (lost int, err error) {
	rows, err := t.Load(ctx)
	if err != nil {
		return 0, err
	}
	others := slices.DeleteFunc(slices.Clone(members), func(m Status) bool { return m.ID == id })
	for p := range rows {
		if x, ok := rows[p].Replica(id); !ok || x.State != Ready || rows[p].Count(Ready) > 1 {
			continue
		}
		promoted := false
		_, err := t.Update(ctx, byte(p), func(r *Row) error {
			promoted = false
			if x, ok := r.Replica(id); !ok || x.State != Ready || r.Count(Ready) > 1 {
				return nil
			}
			if heir := heir(byte(p), r, others); heir != "" {
				r.Replicas = slices.DeleteFunc(r.Replicas, func(x Replica) bool { return x.ID == id })
				r.Set(heir, Ready)
				promoted = true
			}
			return nil
		})
		if err != nil {
			return lost, err
		}
		if promoted {
			lost++
		}
	}
	return lost, nil
}

// heir returns the member that is to have the only copy of a partition that is in sync: one that
// is alive and has much of it, or none of it; "" if nobody is there.
func heir(p byte, r *Row, members []Status) string {
	for _, state := range []State{Filling, Behind} {
		for _, x := range r.Replicas {
			if x.State == state && slices.ContainsFunc(members, func(m Status) bool { return m.ID == x.ID && m.Alive }) {
				return x.ID
			}
		}
	}
	for _, id := range Owners(p, members, 1, r) {
		return id
	}
	return ""
}
