package copies

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/pack"
)

// TestNames: what is remembered is what would be written, and bounded.
func TestNames(t *testing.T) {
	var n names
	var all sync.WaitGroup
	for worker := range 2 {
		all.Go(func() {
			for i := range maxNames + 100 {
				d, err := digest.Sum(digest.SHA256, fmt.Append(nil, i*(worker+1)))
				if err != nil {
					t.Error(err)
					return
				}
				if got, again, want := n.of(d), n.of(d), pack.Key(d); got != want || again != want {
					t.Errorf("%s, then %s, want %s", got, again, want)
				}
			}
		})
	}
	all.Wait()
	kept := 0
	for range n.known.Range {
		kept++
	}
	if kept == 0 || kept > maxNames+2 {
		t.Errorf("%d names are kept", kept)
	}
}
