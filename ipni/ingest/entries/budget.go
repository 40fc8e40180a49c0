package entries

import "sync"

// Budget is memory for streams that are begun ahead of their turn. It is safe for
// concurrent use.
type Budget struct {
	mu   sync.Mutex
	left int64
}

// Take reports whether n bytes could be taken.
func (b *Budget) Take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}

// Give gives n bytes back.
func (b *Budget) Give(n int64) {
	b.mu.Lock()
	b.left += n
	b.mu.Unlock()
}

// NewBudget returns a budget of n bytes.
func NewBudget(n int64) *Budget { return &Budget{left: n} }
