package router_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/clustertest"
	"github.com/hashstream/hashstream/ipni/cluster/router"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// prepared answers all that it is asked for with the same values, and allocates nothing for it.
type prepared struct {
	*clustertest.Store
	values [][]byte
}

func (p *prepared) ValueKeys(context.Context, dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, v := range p.values {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// The key of a multihash is derived once for all the values that it has, and each is opened once.
func TestOneKeyForAllValues(t *testing.T) {
	rig := newRig(t, "a")
	node := &prepared{}
	r := router.New(rig.kv, func(cluster.Member) (cluster.Node, error) { return node, nil }, nil)
	allocs := func(n int) float64 {
		node.values = nil
		for i := range n {
			valueKey := ipni.Context{Provider: contextOf(1, 0).Provider, ID: fmt.Sprint("context ", i)}.ValueKey()
			node.values = append(node.values, dhash.Seal(nil, valueKey, hash("x")))
		}
		slices.SortFunc(node.values, bytes.Compare)
		return testing.AllocsPerRun(20, func() { want(t, r, "x", n) })
	}
	if each := (allocs(2100) - allocs(100)) / 2000; each > 4.5 {
		t.Errorf("%.1f allocations for each further value", each)
	}
}
