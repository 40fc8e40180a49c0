package find

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// TestIncomplete tells an answer that lacks something from one that broke off, and either from one
// without results.
func TestIncomplete(t *testing.T) {
	boom := errors.New("boom")
	some := fmt.Errorf("scatter: %w: %w", ipni.ErrIncomplete, boom)
	for _, tt := range []struct {
		name       string
		good, bad  int // contexts
		listed     error
		incomplete bool
		want       error
	}{
		{name: "all", good: 20},
		{name: "the lookup's own", good: 20, listed: some, incomplete: true, want: boom},
		{name: "of contexts", good: 20, bad: 1, incomplete: true, want: boom},
		{name: "of many contexts", good: 20, bad: 20, incomplete: true, want: boom},
		{name: "of contexts and the lookup's own", good: 20, bad: 20, listed: some, incomplete: true, want: boom},
		{name: "broken off", good: 20, listed: boom, want: boom},
		{name: "broken off after many contexts that failed", good: 20, bad: 20, listed: context.DeadlineExceeded, want: context.DeadlineExceeded},
		{name: "nothing but failures", bad: 20, want: boom},
		{name: "nothing, and the lookup's own", listed: some, incomplete: true, want: boom},
		{name: "nothing but failures, and the lookup's own", bad: 20, listed: some, incomplete: true, want: boom},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everyWay(t, func(t *testing.T, m *memIndex, find func(Providers, Options) *Finder) {
				for i := range max(tt.good, tt.bad) {
					if i < tt.bad {
						m.put(hash(0), testContext(2, fmt.Sprint(i)), []byte("md"))
					}
					if i < tt.good {
						m.put(hash(0), testContext(1, fmt.Sprint(i)), []byte("md"))
					}
				}
				m.listed = tt.listed
				f := find(everybody{map[peer.ID]error{ipnitest.ID(2): boom}}, Options{})
				got, err := collect(f.Find(t.Context(), hash(0)))
				if len(got) != tt.good || !errors.Is(err, tt.want) || errors.Is(err, ipni.ErrIncomplete) != tt.incomplete {
					t.Errorf("%d results, %v", len(got), err)
				}
			})
		})
	}
}

// TestIncompleteInTime delivers what was found when the time is over.
func TestIncompleteInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemIndex()
		for i := range 20 {
			m.put(hash(0), testContext(1, fmt.Sprint(i)), []byte("md"))
		}
		m.listed = context.DeadlineExceeded // the list is over then, too
		for _, ahead := range []int{1, 5} {
			n := 0
			m.metaHook = func(ctx context.Context, _ []byte) error {
				m.mu.Lock()
				n++
				hangs := n > 7
				m.mu.Unlock()
				if !hangs {
					return nil
				}
				<-ctx.Done()
				return context.Cause(ctx)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			got, err := collect(New(Open(m), everybody{}, &Options{Ahead: ahead}).Find(ctx, hash(0)))
			if len(got) != 7 || !errors.Is(err, ipni.ErrIncomplete) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d at a time: %d results, %v", ahead, len(got), err)
			}
		}
	})
}
