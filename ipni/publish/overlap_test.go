package publish_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/ipni/publish"
	"github.com/hashstream/hashstream/kv/memkv"
)

// TestReconcileTwice: of two reconciliations at the same time neither takes back what the other
// found.
func TestReconcileTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, memkv.New(), memblob.New(), nil)
		want := map[string]set{} // so many that some are marked before the last is put
		for n := range 600 {
			want[fmt.Sprint(n)] = numbers(t, n, n+1)
		}
		all := &publish.ReconcileOptions{RemoveAll: true}
		var second sync.WaitGroup
		first := reconcile(t, p, func(yield func(publish.Item, error) bool) {
			for item, err := range wantOf(want) {
				if !yield(item, err) {
					return
				}
			}
			second.Go(func() { // while the first one is under way
				if done := reconcile(t, p, wantOf(want), all); done != (publish.Reconciled{Items: 600}) {
					t.Errorf("the second one: %+v", done)
				}
			})
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := p.Reconcile(ctx, wantOf(want), nil); !errors.Is(err, context.Canceled) {
				t.Errorf("one that does not wait any longer: %v", err)
			}
		}, all)
		second.Wait()
		if first != (publish.Reconciled{Items: 600, Put: 600}) {
			t.Errorf("the first one: %+v", first)
		}
		if got := replay(t, p).sets; !maps.EqualFunc(got, want, func(a, b set) bool { return maps.Equal(a, b) }) {
			t.Errorf("%d contexts are advertised", len(got))
		}
	})
}
