package jsstore

import (
	"slices"
	"strings"

	"github.com/hashstream/hashstream/digest"
)

// groups is which packs hold parts of which roots: the connected components, by
// union-find.
type groups struct {
	parent map[digest.Digest]digest.Digest // of a root or pack; itself at the top
	roots  map[digest.Digest]bool
	packs  map[digest.Digest]bool
}

// group is packs and roots that belong together.
type group struct {
	packs, roots []digest.Digest
	rest         bool // what no root holds
}

func newGroups() groups {
	return groups{map[digest.Digest]digest.Digest{}, map[digest.Digest]bool{}, map[digest.Digest]bool{}}
}

func (g *groups) top(d digest.Digest) digest.Digest {
	up, ok := g.parent[d]
	if !ok {
		g.parent[d], up = d, d
	}
	for up != d {
		above := g.parent[up]
		g.parent[d] = above // halves the way
		d, up = up, above
	}
	return d
}

func (g *groups) root(d digest.Digest)        { g.roots[d] = true; g.top(d) }
func (g *groups) pack(d digest.Digest)        { g.packs[d] = true }
func (g *groups) isRoot(d digest.Digest) bool { return g.roots[d] }

func (g *groups) join(root, pack digest.Digest) {
	g.packs[pack] = true
	if a, b := g.top(root), g.top(pack); a != b {
		g.parent[a] = b
	}
}

// list returns the groups, in the order of their first member, and last what no root holds.
func (g *groups) list() []group {
	compare := func(a, b digest.Digest) int { return strings.Compare(a.String(), b.String()) }
	at := map[digest.Digest]int{}
	var all []group
	rest := group{rest: true}
	of := func(d digest.Digest) *group {
		if _, ok := g.parent[d]; !ok {
			return &rest
		}
		top := g.top(d)
		i, ok := at[top]
		if !ok {
			i = len(all)
			at[top] = i
			all = append(all, group{})
		}
		return &all[i]
	}
	for _, d := range sorted(g.roots, compare) {
		in := of(d)
		in.roots = append(in.roots, d)
	}
	for _, d := range sorted(g.packs, compare) {
		in := of(d)
		in.packs = append(in.packs, d)
	}
	return append(all, rest)
}

func sorted(set map[digest.Digest]bool, compare func(a, b digest.Digest) int) []digest.Digest {
	all := make([]digest.Digest, 0, len(set))
	for d := range set {
		all = append(all, d)
	}
	slices.SortFunc(all, compare)
	return all
}
