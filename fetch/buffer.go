package fetch

import (
	"container/list"

	"github.com/hashstream/hashstream/digest"
)

// buffer keeps verified blocks of a stream: those that came before they were
// demanded (ahead), and those that were demanded lately and may be again, because
// the gateway sends every block once (recent). Each half is bounded.
type buffer struct {
	max    int64
	byName map[digest.Digest]*list.Element
	ahead  queue // by arrival, oldest in front
	recent queue // by use, oldest in front
	clock  int64 // counts arrivals
	last   int64 // arrival of the latest block that was demanded
}

type queue struct {
	list.List
	bytes int64
}

type entry struct {
	name  digest.Digest
	data  []byte
	at    int64
	queue *queue
}

// overhead is what an entry costs besides its bytes, roughly, so that empty
// blocks cannot be kept without bound.
const overhead = 256

func (e *entry) cost() int64 { return int64(len(e.data)) + overhead }

func newBuffer(max int64) *buffer {
	return &buffer{max: max, byName: make(map[digest.Digest]*list.Element)}
}

func (b *buffer) has(d digest.Digest) bool { return b.byName[d] != nil }

// take returns a kept block and remembers that it was demanded. fresh reports
// whether it was demanded for the first time.
func (b *buffer) take(d digest.Digest) (data []byte, fresh, ok bool) {
	el := b.byName[d]
	if el == nil {
		return nil, false, false
	}
	e := el.Value.(*entry)
	fresh = e.queue == &b.ahead
	b.remove(el)
	b.last = max(b.last, e.at)
	b.remember(e)
	return e.data, fresh, true
}

// claim records a block that was demanded when the stream brought it.
func (b *buffer) claim(d digest.Digest, data []byte) {
	b.clock++
	b.last = b.clock
	b.remember(&entry{name: d, data: data, at: b.clock})
}

// fetched records a block that came by another way than the stream. It says
// nothing about how far the traversal is in the stream.
func (b *buffer) fetched(d digest.Digest, data []byte) {
	b.remember(&entry{name: d, data: data})
}

func (b *buffer) remember(e *entry) {
	if el := b.byName[e.name]; el != nil {
		b.remove(el)
	}
	b.add(&b.recent, e)
	for b.recent.bytes > b.max {
		b.remove(b.recent.Front())
	}
}

// room reports whether another block may arrive. What the traversal has passed
// makes room: it was probably never going to be demanded.
func (b *buffer) room() bool {
	for b.ahead.bytes >= b.max {
		oldest := b.ahead.Front()
		if oldest.Value.(*entry).at > b.last {
			return false
		}
		b.remove(oldest)
	}
	return true
}

// put keeps a block that nobody has demanded yet. Call it only after room.
func (b *buffer) put(d digest.Digest, data []byte) {
	b.clock++
	b.add(&b.ahead, &entry{name: d, data: data, at: b.clock})
}

func (b *buffer) add(q *queue, e *entry) {
	e.queue = q
	q.bytes += e.cost()
	b.byName[e.name] = q.PushBack(e)
}

func (b *buffer) remove(el *list.Element) {
	e := el.Value.(*entry)
	e.queue.Remove(el)
	e.queue.bytes -= e.cost()
	delete(b.byName, e.name)
}
