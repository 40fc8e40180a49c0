package bao

import (
	"fmt"

	"github.com/hashstream/hashstream/digest"
)

// verifier goes through the part of a tree that a slice needs, in pre-order, and
// believes a node only if what is above it vouches for it.
type verifier struct {
	shape       shape
	root        digest.Digest
	first, last int64     // groups of the slice
	stack       []subtree // to come, the next one last: never deeper than the tree
}

func newVerifier(s Slice, d digest.Digest) (*verifier, error) {
	root, err := rootOf(d)
	if err != nil {
		return nil, err
	}
	v := &verifier{shape: s.shape, root: d}
	v.first, v.last = s.ends()
	v.stack = append(v.stack, subtree{0, s.shape.groups(), root, true})
	return v, nil
}

// next returns what comes next; false at the end. Whoever asks must then give it to
// group, if it is a leaf, or to parent.
func (v *verifier) next() (subtree, bool) {
	if len(v.stack) == 0 {
		return subtree{}, false
	}
	t := v.stack[len(v.stack)-1]
	v.stack = v.stack[:len(v.stack)-1]
	return t, true
}

// parent checks the node of t and goes on to those of its subtrees that the slice touches.
func (v *verifier) parent(t subtree, p *Pair) error {
	left, right := p.split()
	if valueAs(parentOf(left, right), t.root) != t.value {
		return v.mismatch(t)
	}
	split := t.split()
	if split <= v.last {
		v.stack = append(v.stack, subtree{split, t.end, right, false})
	}
	if split > v.first {
		v.stack = append(v.stack, subtree{t.first, split, left, false})
	}
	return nil
}

// group checks the group t, with which b begins. b has room for a whole one.
func (v *verifier) group(t subtree, b []byte) error {
	n := groupNode(b, v.shape.bytes(t.first), t.first*v.shape.group())
	if valueAs(n, t.root) != t.value {
		return v.mismatch(t)
	}
	return nil
}

func (v *verifier) mismatch(t subtree) error {
	kind := "node above"
	if t.leaf() {
		kind = "group"
	}
	return fmt.Errorf("bao: %s: %s byte %d: %w", v.root, kind, t.first*v.shape.group(), digest.ErrMismatch)
}
