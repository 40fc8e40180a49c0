package router_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/router"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// slow removes for so long altogether, but no longer at a time than its caller allows. A
// router that gave up at the same moment may call it again before it has returned.
type slow struct {
	cluster.Node
	left atomic.Int64 // nanoseconds
}

func newSlow(n cluster.Node, d time.Duration) *slow {
	s := &slow{Node: n}
	s.left.Store(int64(d))
	return s
}

func (s *slow) RemoveSealed(ctx context.Context, provider ipni.ProviderTag, of *dhash.MetadataKey, before uint64) error {
	start := time.Now()
	select {
	case <-time.After(time.Duration(s.left.Load())):
		return s.Node.RemoveSealed(ctx, provider, of, before)
	case <-ctx.Done():
		s.left.Add(-int64(time.Since(start)))
		return ipni.ErrUnfinished
	}
}

// A removal may take longer than a write: who needs the time for it misses nothing.
func TestLongRemoval(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		nodes := map[string]*slow{"a": newSlow(rig.links["a"], time.Second), "b": newSlow(rig.links["b"], 5*time.Minute)}
		r := router.New(rig.kv, func(m cluster.Member) (cluster.Node, error) { return nodes[m.ID], nil }, nil)
		c := contextOf(1, 1)
		must(t, r.Put(t.Context(), ipni.Group{Context: c, Epoch: 1}, hashes("x")))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.RemoveSealed(ctx, ipni.TagProvider(c.Provider), nil, 2); !errors.Is(err, ipni.ErrUnfinished) {
			t.Fatalf("after a minute: %v", err)
		}
		must(t, r.RemoveSealed(t.Context(), ipni.TagProvider(c.Provider), nil, 2))
		want(t, r, "x", 0)
		p := dhash.SecondHash(hash("x"))[0]
		if diff := cmp.Diff(map[string]cluster.State{"a": cluster.Ready, "b": cluster.Ready}, rig.states(p)); diff != "" {
			t.Error(diff)
		}
	})
}
