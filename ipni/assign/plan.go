package assign

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/hashstream/hashstream/ipni/cluster"
)

// situation is what a node sees of all publishers and members.
type situation struct {
	self       string
	replicas   int
	publishers []*Publisher
	alive      map[string]bool
	fit        map[string]bool // alive, of the role, neither draining nor frozen unless all are
	count      map[string]int  // leases of the fit
	ceil       int             // the largest fair share
}

func survey(self string, replicas int, members []cluster.Status, publishers []*Publisher) *situation {
	s := &situation{self: self, replicas: replicas, publishers: publishers, alive: map[string]bool{}, fit: map[string]bool{}, count: map[string]int{}}
	frozen := map[string]bool{}
	for _, m := range members {
		if !m.Alive || !m.Has(cluster.RoleIngest) {
			continue
		}
		s.alive[m.ID] = true
		switch {
		case m.Draining:
		case m.Frozen:
			frozen[m.ID] = true
		default:
			s.fit[m.ID] = true
		}
	}
	if len(s.fit) == 0 {
		s.fit = frozen // which at least see what is removed
	}
	for id := range s.fit {
		s.count[id] = 0
	}
	total := 0
	for _, p := range publishers {
		for _, h := range p.Leases {
			if s.fit[h.Holder] {
				s.count[h.Holder]++
			}
		}
		total += min(replicas, len(s.fit))
	}
	if n := len(s.fit); n > 0 {
		s.ceil = (total + n - 1) / n
	}
	return s
}

// live returns how many leases of p have a holder that is alive.
func (s *situation) live(p *Publisher) (n int) {
	for _, h := range p.Leases {
		if s.alive[h.Holder] {
			n++
		}
	}
	return n
}

// may reports whether a member may get a lease of p.
func (s *situation) may(p *Publisher, id string) bool {
	_, holds := p.lease(id)
	return s.fit[id] && !holds && !slices.Contains(p.Barred, id)
}

// claimable reports whether this node may claim a lease of p, leaving its share aside.
func (s *situation) claimable(p *Publisher) bool {
	return s.may(p, s.self) && s.live(p) < s.replicas
}

// claims returns the publishers to claim a lease of: the pinned ones, those that prefer this
// node, then any, up to its share.
func (s *situation) claims() (list []*Publisher) {
	room := s.ceil - s.count[s.self]
	var first, later []*Publisher
	for _, p := range s.publishers {
		switch {
		case !s.claimable(p):
		case slices.Contains(p.Pinned, s.self):
			list = append(list, p)
			room--
		case slices.Contains(p.Preferred, s.self):
			first = append(first, p)
		case s.live(p)+s.reserved(p) < s.replicas:
			later = append(later, p)
		}
	}
	rand.Shuffle(len(later), func(i, j int) { later[i], later[j] = later[j], later[i] }) // so that few want the same
	for _, p := range append(first, later...) {
		if room > 0 || s.last(p) {
			list = append(list, p)
			room--
		}
	}
	return list
}

// last reports whether nobody with room may get a lease of p, and this node is the one with the fewest
// leases that may.
func (s *situation) last(p *Publisher) bool {
	for id, n := range s.count {
		if id != s.self && s.may(p, id) && (n < s.ceil || cmp.Or(cmp.Compare(n, s.count[s.self]), cmp.Compare(id, s.self)) < 0) {
			return false
		}
	}
	return true
}

// reserved returns how many others go first for a lease of p and have room for it.
func (s *situation) reserved(p *Publisher) (n int) {
	for _, id := range union(slices.Clone(p.Pinned), p.Preferred) {
		pinned := slices.Contains(p.Pinned, id)
		if id != s.self && s.may(p, id) && (pinned || s.count[id] < s.ceil) {
			n++
		}
	}
	return n
}

// must reports whether this node has to hand over its lease of p: it is barred, it is not fit
// and another one may have it, or a pinned member has no other to get.
func (s *situation) must(p *Publisher) bool {
	if slices.Contains(p.Barred, s.self) {
		return true
	}
	if !s.fit[s.self] {
		for id := range s.fit {
			if s.may(p, id) {
				return true
			}
		}
		return false
	}
	waiting := 0
	for _, id := range p.Pinned {
		if s.may(p, id) {
			waiting++
		}
	}
	waiting -= max(0, s.replicas-s.live(p))
	// The youngest leases that are not pinned go first.
	for _, h := range slices.Backward(p.Leases) {
		if waiting <= 0 {
			return false
		}
		if !slices.Contains(p.Pinned, h.Holder) {
			if h.Holder == s.self {
				return true
			}
			waiting--
		}
	}
	return false
}

// spare returns the publishers whose leases this node hands over so that all have the same
// number of them, give or take one. All nodes come to compatible answers, because they
// see the same rows. own is what this node holds; what it is about to hand over
// already, which yielding tells, goes first, then what prefers the one that gets it.
func (s *situation) spare(own []*Publisher, yielding map[*Publisher]bool) (list []*Publisher) {
	count := maps.Clone(s.count)
	ids := slices.Collect(maps.Keys(count))
	if len(ids) < 2 || !s.fit[s.self] {
		return nil
	}
	own = slices.Clone(own)
	rand.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
	slices.SortStableFunc(own, func(a, b *Publisher) int {
		switch {
		case yielding[a] == yielding[b]:
			return 0
		case yielding[a]:
			return -1
		}
		return 1
	})
	byCount := func() {
		slices.SortFunc(ids, func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b)) })
	}
	for _, p := range s.publishers { // what is free goes to those that have least
		for range max(0, min(s.replicas, len(ids))-s.live(p)) {
			byCount()
			count[ids[len(ids)-1]]++
		}
	}
	for {
		byCount()
		most, least := ids[0], ids[len(ids)-1]
		if count[most]-count[least] < 2 {
			return list
		}
		if most == s.self {
			i := -1
			for j, p := range own {
				switch {
				case !s.may(p, least) || slices.Contains(p.Pinned, s.self) || slices.Contains(p.Preferred, s.self):
				case i < 0, !yielding[own[i]] && slices.Contains(p.Preferred, least) && !slices.Contains(own[i].Preferred, least):
					i = j
				}
			}
			if i < 0 {
				return list
			}
			list = append(list, own[i])
			own = slices.Delete(own, i, i+1)
		}
		count[most]--
		count[least]++
	}
}
