package state

// Floor returns the lowest order f so that every advertisement from f up to, not
// including, order has been processed as far as removals go. gaps are those of the
// publisher that are open; below is the order of the oldest advertisement of the
// segment at hand if its gap goes on below it, else 0; at is the gap at hand, 0 for none.
func Floor(gaps []*Gap, order, at, below uint64) uint64 {
	floor := below
	for _, g := range gaps {
		if g.Seq == at || g.Resync || g.Parked || g.Seq<<32 >= order {
			continue
		}
		floor = max(floor, min(g.Top()+1, order))
	}
	return floor
}

// Place returns the epoch of the group that an addition of an order goes to, and the
// state after it.
//
// The epochs must be such that a removal, which removes all groups with an epoch below
// its order, removes the additions that are older than it and no other, even if it is
// found later than both. The epoch of a group in which additions from Epoch to order
// come together is right if no removal lies between them, which is known only if all
// advertisements between them have been processed: hence floor, as [Floor] returns.
// Where that is not known, or another publisher added last, a group of its own is right.
func (c Context) Place(order, floor uint64, tag Tag) (uint64, Context) {
	if c.Epoch == 0 || c.Epoch > order || c.Epoch < floor || c.Epoch <= c.RemovedAt || c.Tag != tag {
		c.Epoch, c.EpochLast, c.Tag = order, order, tag
	}
	c.EpochLast = max(c.EpochLast, order)
	return c.Epoch, c
}

// Cut returns the epoch below which the groups are removed by a removal of an order,
// and the state after it. That is the order, except if a group holds additions from both
// before and after it. That happens only if two publishers speak for one provider: then
// too much is kept rather than too little.
func (c Context) Cut(order uint64) (uint64, Context) {
	before := order
	if c.Epoch < order && order < c.EpochLast {
		before = c.Epoch
	} else if c.Epoch < order {
		c.Epoch, c.EpochLast = 0, 0
	}
	c.RemovedAt = max(c.RemovedAt, order)
	return before, c
}

// Lag returns how many advertisements are known to be left in gaps, at least.
func Lag(gaps []*Gap) (n uint64) {
	for _, g := range gaps {
		n += g.Size - g.Done
		if g.Size == 0 || g.Next.Defined() {
			n++ // and what is before it
		}
	}
	return n
}
