package clustertest

import (
	"bytes"
	"context"
	"iter"
	"sync"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Fault is what is wrong with a link. The zero value is nothing.
type Fault struct {
	Err      error  // the answer to everything; with After, only when so many values were yielded
	After    int    // values that an answer has before Err or Hang
	Hang     bool   // no answer until the context ends
	Deaf     bool   // with Hang, not even then: until the fault changes
	Twice    bool   // yields each value twice
	Empty    bool   // says that it has nothing
	Garbage  []byte // comes instead of every value
	Spoil    bool   // the second value of an answer is not what was stored
	LateErr  error  // the answer to writes, which are carried out
	ReadsToo bool   // false: Err and Hang are for writes only
}

// Link is a way to a node.
type Link struct {
	node cluster.Node

	mu      sync.Mutex
	fault   Fault
	changed chan struct{}
	reads   int
}

var _ cluster.Node = (*Link)(nil)

// NewLink returns a link to a node.
func NewLink(n cluster.Node) *Link { return &Link{node: n, changed: make(chan struct{})} }

// Cut makes the node unreachable.
func (l *Link) Cut() { l.Break(Fault{Err: ErrCut, ReadsToo: true}) }

// Break gives the link a fault, or takes it away.
func (l *Link) Break(f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
	close(l.changed)
	l.changed = make(chan struct{})
}

// Reads returns how many reads came.
func (l *Link) Reads() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

func (l *Link) state(read bool) (Fault, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if read {
		l.reads++
	}
	return l.fault, l.changed
}

// fail waits or returns what the fault says.
func fail(ctx context.Context, f Fault, changed <-chan struct{}) error {
	switch {
	case f.Hang && f.Deaf:
		<-changed
		return ErrCut
	case f.Hang:
		<-ctx.Done()
		return context.Cause(ctx)
	default:
		return f.Err
	}
}

func (l *Link) write(ctx context.Context, do func() error) error {
	f, changed := l.state(false)
	if err := fail(ctx, f, changed); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return f.LateErr
}

// ValueKeys asks the node.
func (l *Link) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		f, changed := l.state(true)
		n := 0
		broken := func() bool {
			if !f.ReadsToo || n < f.After {
				return false
			}
			err := fail(ctx, f, changed)
			if err != nil {
				yield(nil, err)
			}
			return err != nil
		}
		if broken() || f.Empty {
			return
		}
		if f.Garbage != nil {
			yield(f.Garbage, nil)
			return
		}
		for v, err := range l.node.ValueKeys(ctx, key) {
			if n++; n == 2 && f.Spoil {
				v = bytes.Clone(v)
				v[len(v)-1]++
			}
			if !yield(v, err) {
				return
			}
			if broken() || f.Twice && !yield(v, err) {
				return
			}
		}
	}
}

// SealedMetadata asks the node.
func (l *Link) SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error) {
	f, changed := l.state(true)
	if f.ReadsToo {
		if err := fail(ctx, f, changed); err != nil {
			return nil, err
		}
	}
	if f.Garbage != nil {
		return f.Garbage, nil
	}
	return l.node.SealedMetadata(ctx, key)
}

// PutSealed writes to the node.
func (l *Link) PutSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return l.write(ctx, func() error { return l.node.PutSealed(ctx, g, records) })
}

// DeleteSealed writes to the node.
func (l *Link) DeleteSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	return l.write(ctx, func() error { return l.node.DeleteSealed(ctx, g, records) })
}

// RemoveSealed writes to the node.
func (l *Link) RemoveSealed(ctx context.Context, p ipni.ProviderTag, of *dhash.MetadataKey, before uint64) error {
	return l.write(ctx, func() error { return l.node.RemoveSealed(ctx, p, of, before) })
}

// PutSealedMetadata writes to the node.
func (l *Link) PutSealedMetadata(ctx context.Context, key dhash.MetadataKey, sealed []byte) error {
	return l.write(ctx, func() error { return l.node.PutSealedMetadata(ctx, key, sealed) })
}

// ExportSealed asks the node.
func (l *Link) ExportSealed(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Record, error] {
	return export(ctx, l, l.node.ExportSealed(ctx, r))
}

// ExportMetadata asks the node.
func (l *Link) ExportMetadata(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Metadata, error] {
	return export(ctx, l, l.node.ExportMetadata(ctx, r))
}

func export[T any](ctx context.Context, l *Link, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		f, changed := l.state(false)
		n := 0
		for x, err := range all {
			if f.ReadsToo && n >= f.After {
				if err := fail(ctx, f, changed); err != nil {
					yield(x, err)
					return
				}
			}
			if n++; !yield(x, err) {
				return
			}
		}
	}
}
