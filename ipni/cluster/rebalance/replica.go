// Package rebalance moves the partitions of a cluster between its nodes while they are
// written to and read. A [Replica] is the store of a node as the cluster sees it, an [Agent]
// does the work of a node: it fills what the node is to have, drops what it is not, repairs what
// missed a write, and adapts the table when it has the lease to do so.
//
// # Filling
//
// A copy that fills gets all writes from the moment that the table names it. What was
// before is read from a copy in sync and compared with what is there, key by key: what is missing
// is put, what the other does not have is deleted. What was written here since the
// replica began to take notes is left alone, because it is newer than what the other said; and notes
// are taken for so long before the other is read that every write from before them has arrived
// there or has been given up ([cluster.Timing.Settle]). So nothing that was deleted meanwhile comes
// back, and nothing that was put meanwhile gets lost. The same procedure repairs a copy that
// is behind; a copy with little amiss is read and hardly written.
//
// # Errors
//
// As package cluster says. An Agent logs what fails, and tries again.
//
// All types are safe for concurrent use.
package rebalance

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"iter"
	"sync"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// errOverflow is that more was written while a partition was filled than can be
// remembered. The fill goes on where it was, with new notes.
var errOverflow = errors.New("rebalance: too many writes during the fill")

// Replica is a node's store, which takes notes of writes to partitions that are filled. All writes to
// the store must go through it.
type Replica struct {
	node cluster.Node
	max  int // notes of all fills

	mu    sync.RWMutex
	fills map[byte]*fill
	notes int
}

var _ cluster.Node = (*Replica)(nil)

// NewReplica returns the replica whose store is node. maxNotes bounds the writes
// that are remembered, at about 40 bytes each; 0 means 4,194,304.
func NewReplica(node cluster.Node, maxNotes int) *Replica {
	if maxNotes <= 0 {
		maxNotes = 4 << 20
	}
	return &Replica{node: node, max: maxNotes, fills: map[byte]*fill{}}
}

// note is the first half of the sha2-256 of a record, or of the key of metadata.
type note [16]byte

func noteOf(g ipni.SealedGroup, key dhash.Key, value []byte) note {
	b := make([]byte, 0, 256)
	b = append(append(b, g.Provider[:]...), g.Context[:]...)
	b = binary.BigEndian.AppendUint64(b, g.Epoch)
	b = append(append(b, key[:]...), value...)
	sum := sha256.Sum256(b)
	return note(sum[:])
}

// removal is a call of RemoveSealed.
type removal struct {
	provider ipni.ProviderTag
	context  *dhash.MetadataKey
	before   uint64
}

func (r removal) covers(g ipni.SealedGroup) bool {
	return g.Provider == r.provider && (r.context == nil || g.Context == *r.context) && g.Epoch < r.before
}

// fill is a partition that is filled.
type fill struct {
	order sync.RWMutex // shared by writes, alone for what comes from another replica

	mu       sync.Mutex
	touched  map[note]struct{}
	removed  []removal
	overflow bool
}

// begin starts to take notes for a partition.
func (r *Replica) begin(p byte) *fill {
	f := &fill{touched: map[note]struct{}{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fills[p] = f
	return f
}

// end stops to take notes.
func (r *Replica) end(p byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.fills[p]; f != nil {
		f.mu.Lock()
		r.notes -= len(f.touched) + len(f.removed)
		f.touched = nil
		f.mu.Unlock()
		delete(r.fills, p)
	}
}

// enter holds back what comes from other replicas for the partitions that a write
// touches, and notes the write. f calls its argument for each note.
func (r *Replica) enter(touches func(p byte) bool, f func(take func(p byte, n note, gone *removal))) (leave func()) {
	r.mu.RLock()
	var active [cluster.Partitions]*fill
	some := false
	for p, fill := range r.fills {
		if touches(p) {
			active[p], some = fill, true
		}
	}
	r.mu.RUnlock()
	if !some {
		return func() {}
	}
	for _, fill := range active {
		if fill != nil {
			fill.order.RLock()
		}
	}
	taken := 0
	f(func(p byte, n note, gone *removal) {
		if fill := active[p]; fill != nil {
			taken += fill.take(n, gone)
		}
	})
	r.count(taken)
	return func() {
		for _, fill := range active {
			if fill != nil {
				fill.order.RUnlock()
			}
		}
	}
}

// take remembers a write, and returns how many more notes there are.
func (f *fill) take(n note, gone *removal) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.touched == nil {
		return 0
	}
	before := len(f.touched)
	if gone != nil {
		f.removed = append(f.removed, *gone)
		return 1
	}
	f.touched[n] = struct{}{}
	return len(f.touched) - before
}

// count adds to the number of notes. If there are too many, no fill has all it needs.
func (r *Replica) count(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.notes += n; r.notes <= r.max {
		return
	}
	for _, f := range r.fills {
		f.mu.Lock()
		r.notes -= len(f.touched) + len(f.removed)
		f.touched, f.removed, f.overflow = nil, nil, true
		f.mu.Unlock()
	}
}

// newer reports whether a write here since the notes began decides about a record of a group, or
// about metadata if g is nil.
func (f *fill) newer(n note, g *ipni.SealedGroup) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.touched[n]; ok {
		return true
	}
	for _, r := range f.removed {
		if g != nil && r.covers(*g) {
			return true
		}
	}
	return false
}

func (f *fill) lost() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.overflow
}

// records enters with the records of a write.
func (r *Replica) records(g ipni.SealedGroup, records valuestore.Records) (leave func()) {
	var touched [cluster.Partitions]bool
	r.mu.RLock()
	idle := len(r.fills) == 0
	r.mu.RUnlock()
	if idle {
		return func() {}
	}
	for e := range records.All() {
		touched[e.Key[0]] = true
	}
	return r.enter(func(p byte) bool { return touched[p] }, func(take func(byte, note, *removal)) {
		for e := range records.All() {
			take(e.Key[0], noteOf(g, e.Key, e.Value), nil)
		}
	})
}

// PutSealed adds records.
func (r *Replica) PutSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	defer r.records(g, records)()
	return r.node.PutSealed(ctx, g, records)
}

// DeleteSealed deletes records.
func (r *Replica) DeleteSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	defer r.records(g, records)()
	return r.node.DeleteSealed(ctx, g, records)
}

// RemoveSealed removes groups.
func (r *Replica) RemoveSealed(ctx context.Context, provider ipni.ProviderTag, of *dhash.MetadataKey, before uint64) error {
	gone := removal{provider: provider, before: before}
	if of != nil {
		key := *of
		gone.context = &key
	}
	defer r.enter(func(byte) bool { return true }, func(take func(byte, note, *removal)) {
		for p := range cluster.Partitions {
			take(byte(p), note{}, &gone)
		}
	})()
	return r.node.RemoveSealed(ctx, provider, of, before)
}

// PutSealedMetadata sets metadata.
func (r *Replica) PutSealedMetadata(ctx context.Context, key dhash.MetadataKey, sealed []byte) error {
	defer r.enter(func(p byte) bool { return p == key[0] }, func(take func(byte, note, *removal)) {
		take(key[0], noteOfMetadata(key), nil)
	})()
	return r.node.PutSealedMetadata(ctx, key, sealed)
}

// noteOfMetadata is of the zero group, and has no value: no record is like that.
func noteOfMetadata(key dhash.MetadataKey) note {
	return noteOf(ipni.SealedGroup{}, dhash.Key(key), nil)
}

// ValueKeys asks the store.
func (r *Replica) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	return r.node.ValueKeys(ctx, key)
}

// SealedMetadata asks the store.
func (r *Replica) SealedMetadata(ctx context.Context, key dhash.MetadataKey) ([]byte, error) {
	return r.node.SealedMetadata(ctx, key)
}

// ExportSealed asks the store.
func (r *Replica) ExportSealed(ctx context.Context, of valuestore.Range) iter.Seq2[cluster.Record, error] {
	return r.node.ExportSealed(ctx, of)
}

// ExportMetadata asks the store.
func (r *Replica) ExportMetadata(ctx context.Context, of valuestore.Range) iter.Seq2[cluster.Metadata, error] {
	return r.node.ExportMetadata(ctx, of)
}
