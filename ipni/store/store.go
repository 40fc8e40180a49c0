// Package store keeps what one node of a provider index knows: values under the keys
// of multihashes in a [valuestore.Store], groups and metadata in a [kv.Store].
//
// A store has one of two modes, which is fixed when it is first opened:
//
//   - sealed: a value is an encrypted value key. Others may write records, and who
//     has the disk learns nothing without the multihashes.
//   - compact: a value is the multihash itself, and the value key is kept once for each
//     group. It takes a third of the space, and answers are the same bytes because the
//     encryption is deterministic; only their order differs. Whoever has the disk can tell
//     which multihash a hashed lookup is for, and others cannot write.
//
// The records of a group carry a tag, so that a context or a provider is removed without
// a list of its multihashes. docs/formats/ipni.md gives the keys.
//
// # Errors
//
// What is not there matches [io/fs.ErrNotExist], malformed input and corrupt rows match
// [digest.ErrMismatch] or [io/fs.ErrInvalid], and what the mode cannot do matches
// [errors.ErrUnsupported]. A value that cannot be read is skipped and counted, since it may be that
// of a foreign writer.
//
// A Store is safe for concurrent use. Several processes may write to the same stores,
// except that a group that one of them removed must not be written to by another.
package store

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

// Options set up a [Store]. Nil means defaults.
type Options struct {
	Compact   bool // the mode, see the package; default sealed
	MinLength int  // multihashes with a digest of fewer bytes are not kept; default 0, all are kept
	Workers   int  // goroutines that seal one large write; default one for each processor
	Groups    int  // groups whose tags are remembered, and tags whose groups are; default 65,536 each
}

// Store is a node's store. [Open] makes one. It has nothing to close: who opened
// what is below it closes that.
type Store struct {
	values  valuestore.Store
	kv      kv.Store
	o       Options
	groups  *groups
	buffers sync.Pool // of *valuestore.Records
	counts  counts
}

var (
	_ ipni.Sink        = (*Store)(nil)
	_ ipni.Lookup      = (*Store)(nil)
	_ ipni.SealedStore = (*Store)(nil)
)

// Stats is what a store counted since it was opened.
type Stats struct {
	SecondHashes uint64 // multihashes not kept: dbl-sha2-256, which nobody can look up in plain
	Short        uint64 // multihashes not kept: shorter than Options.MinLength
	Long         uint64 // multihashes not kept: longer than a value may be
	Foreign      uint64 // values skipped by lookups: they do not open
}

// counts is [Stats] as it grows.
type counts struct{ second, short, long, foreign atomic.Uint64 }

// Open returns the store that lies in values and rows. Stores that were not written before
// get the mode of o. It is an error if they were written in the other mode or by a later version.
func Open(ctx context.Context, values valuestore.Store, rows kv.Store, o *Options) (*Store, error) {
	s := &Store{values: values, kv: rows}
	if o != nil {
		s.o = *o
	}
	if s.o.Workers <= 0 {
		s.o.Workers = runtime.GOMAXPROCS(0)
	}
	if s.o.Groups <= 0 {
		s.o.Groups = 1 << 16
	}
	s.groups = &groups{
		kv:     rows,
		tags:   otter.Must(&otter.Options[ipni.SealedGroup, valuestore.Tag]{MaximumSize: s.o.Groups}),
		owners: otter.Must(&otter.Options[valuestore.Tag, *owner]{MaximumSize: s.o.Groups}),
	}
	err := rows.Update(ctx, formatKey(), func(old []byte) ([]byte, error) {
		return checkFormat(old, s.o.Compact)
	})
	if err != nil {
		return nil, fmt.Errorf("store: open: %w", err)
	}
	return s, nil
}

// Compact reports whether s is in compact mode.
func (s *Store) Compact() bool { return s.o.Compact }

// Rows returns where groups and metadata lie, for rows of others that are to be gone when those are: the keys "Si" and
// "Sc" are not used here.
func (s *Store) Rows() kv.Store { return s.kv }

// Stats returns what was counted.
func (s *Store) Stats() Stats {
	return Stats{
		SecondHashes: s.counts.second.Load(),
		Short:        s.counts.short.Load(),
		Long:         s.counts.long.Load(),
		Foreign:      s.counts.foreign.Load(),
	}
}
