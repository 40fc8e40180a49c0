package cluster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

// Owners returns the members that a partition belongs to, by weighted rendezvous hashing: the first of
// an order that depends on each member alone, so that who joins or leaves moves no more
// than its own share.
func Owners(p byte, members []Status, replicas int, row *Row) []string {
	type scored struct {
		id    string
		score float64
	}
	var all []scored
	for _, m := range members {
		_, holds := row.Replica(m.ID)
		if m.Alive && !m.Draining && m.Has(RoleStore) && (!m.Frozen || holds) {
			all = append(all, scored{m.ID, score(p, m.Member)})
		}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id))
	})
	ids := make([]string, 0, replicas)
	for _, s := range all[:min(replicas, len(all))] {
		ids = append(ids, s.id)
	}
	return ids
}

// score is -weight/ln(h) of a hash h in (0,1): the member with the largest one wins
// in proportion to the weights.
func score(p byte, m Member) float64 {
	sum := sha256.Sum256(append([]byte(m.ID), 0, p))
	h := (float64(binary.BigEndian.Uint64(sum[:])>>11) + 0.5) / (1 << 53)
	weight := float64(m.Weight)
	if m.Weight == 0 {
		weight = 100
	}
	return -weight / math.Log(h)
}

// Adapt changes the row of a partition towards what the members ask for. New owners
// begin to fill; who is not an owner leaves when all owners are in sync; who is dead is behind if
// another one is in sync. Use it in [Table.Update] only.
func Adapt(p byte, r *Row, members []Status, replicas int) {
	alive, known := map[string]bool{}, map[string]bool{}
	for _, m := range members {
		alive[m.ID], known[m.ID] = m.Alive, true
	}
	lives := func(x Replica) bool { return x.State == Ready && alive[x.ID] }
	if slices.ContainsFunc(r.Replicas, lives) {
		for _, x := range r.Replicas {
			if !alive[x.ID] && x.State != Behind {
				r.Set(x.ID, Behind)
			}
		}
	}
	if len(r.Replicas) == 0 {
		return // not founded
	}
	owners := Owners(p, members, replicas, r)
	done := len(owners) > 0
	for _, id := range owners {
		x, ok := r.Replica(id)
		if !ok {
			r.Set(id, Filling)
		}
		done = done && x.State == Ready
	}
	if done {
		for _, x := range slices.Clone(r.Replicas) {
			if !slices.Contains(owners, x.ID) {
				r.Drop(x.ID)
			}
		}
	}
	for _, x := range slices.Clone(r.Leaving) {
		if !known[x.ID] {
			r.Stay(x.ID)
		}
	}
}

// Adapt changes the row of a partition as the function of that name does, if it would change
// row, which is the row as it was read before.
func (t *Table) Adapt(ctx context.Context, p byte, row *Row, members []Status, replicas int) (Row, error) {
	next := row.clone()
	next.Epoch++
	Adapt(p, next, members, replicas)
	if next.same(row) {
		return *row, nil
	}
	return t.Update(ctx, p, func(r *Row) error {
		Adapt(p, r, members, replicas)
		return nil
	})
}
