package segment

// Source is a sequence of records in their order, each of them once.
type Source interface {
	Next() bool
	Record() *Record // valid until the next Next
	Err() error
}

// Merge is the sequence of the records of many sources. Of records that are equal, it
// yields that of the newest source.
type Merge struct {
	heap    []input // the least first
	started bool
	err     error
}

type input struct {
	*Record
	src  Source
	rank int
}

// NewMerge merges sources, the newest first.
func NewMerge(sources []Source) *Merge {
	m := &Merge{heap: make([]input, 0, len(sources))}
	for i, src := range sources {
		if src.Next() {
			m.heap = append(m.heap, input{src.Record(), src, i})
		} else if m.err == nil {
			m.err = src.Err()
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return m
}

// Err returns what ended the sequence, nil if it was its end.
func (m *Merge) Err() error { return m.err }

// Next returns the next record, or nil at the end. It is valid until the next Next.
func (m *Merge) Next() *Record {
	if m.started && len(m.heap) > 0 {
		m.advance(0)
	}
	m.started = true
	for m.err == nil && len(m.heap) > 1 {
		i := m.child(0)
		if m.heap[i].Head != m.heap[0].Head || m.heap[i].Compare(m.heap[0].Record) != 0 {
			break
		}
		m.advance(i) // an older one
	}
	if m.err != nil || len(m.heap) == 0 {
		return nil
	}
	return m.heap[0].Record
}

// advance puts the next record of an input into its place.
func (m *Merge) advance(i int) {
	if src := m.heap[i].src; !src.Next() {
		if err := src.Err(); err != nil {
			m.err = err
			return
		}
		last := len(m.heap) - 1
		m.heap[i] = m.heap[last]
		m.heap = m.heap[:last]
		if i == last {
			return
		}
	}
	m.down(i)
}

// child returns the lesser child of i, which has one.
func (m *Merge) child(i int) int {
	c := 2*i + 1
	if c+1 < len(m.heap) && before(&m.heap[c+1], &m.heap[c]) {
		c++
	}
	return c
}

// down moves an input to its place below i. What it is swapped with was above all that
// may come to i, so its place is never above.
func (m *Merge) down(i int) {
	for 2*i+1 < len(m.heap) {
		c := m.child(i)
		if !before(&m.heap[c], &m.heap[i]) {
			return
		}
		m.heap[i], m.heap[c] = m.heap[c], m.heap[i]
		i = c
	}
}

func before(a, b *input) bool {
	if a.Head != b.Head {
		return a.Head < b.Head
	}
	c := a.Compare(b.Record)
	return c < 0 || c == 0 && a.rank < b.rank
}
