package copies

import (
	"sync"
	"sync/atomic"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/pack"
)

// maxNames bounds the names that are remembered, about 200 bytes each.
const maxNames = 1 << 14

// names are the keys of packs: a request needs the same one several times, and to write it
// in base32 takes longer than to find what it stands for.
type names struct {
	known sync.Map // digest.Digest to string
	size  atomic.Int64
}

// of returns [pack.Key] of d.
func (n *names) of(d digest.Digest) string {
	if key, ok := n.known.Load(d); ok {
		return key.(string)
	}
	key := pack.Key(d)
	if n.size.Add(1) > maxNames {
		n.known.Clear()
		n.size.Store(1)
	}
	n.known.Store(d, key)
	return key
}
