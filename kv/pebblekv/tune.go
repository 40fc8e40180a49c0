package pebblekv

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/hashstream/hashstream/kv"
)

const (
	// memTable times memTables bounds what waits in memory to be written to a
	// table, in bytes.
	memTable  = 4 << 20
	memTables = 3
	// blockSize is what a find reads and unpacks, in bytes: quick, while the index
	// of ten million records still fits into a quarter of the default cache.
	blockSize      = 4 << 10
	indexBlockSize = 32 << 10
	// bloomBits for each key let a Get skip 99 % of the tables that do not have it.
	// The lowest level needs none: Pebble does not ask it for a filter.
	bloomBits = 10
	openFiles = 256
)

func tuned(lock *pebble.Lock, o *Options) *pebble.Options {
	cache := o.CacheBytes
	if cache <= 0 {
		cache = defaultCache
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	p := &pebble.Options{
		Lock:                        lock,
		Comparer:                    comparer(),
		Logger:                      adapter{logger},
		EventListener:               listener(logger),
		CacheSize:                   cache,
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: memTables,
		MaxOpenFiles:                openFiles,
		FormatMajorVersion:          pebble.FormatNewest,
		BytesPerSync:                1 << 20,
		WALBytesPerSync:             1 << 20, // the sync at the end of a batch waits for less
	}
	p.TargetFileSizes[0] = 4 << 20
	// Hashes do not compress. A quick algorithm finds what there is in the rest;
	// zstd finds 3 % more and costs each find a quarter of its time.
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	for i := range p.Levels {
		p.Levels[i].BlockSize = blockSize
		p.Levels[i].IndexBlockSize = indexBlockSize
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	p.Levels[len(p.Levels)-1].FilterPolicy = pebble.NoFilterPolicy
	return p
}

// listener reports damage. Pebble's own would end the process.
func listener(l *slog.Logger) *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { l.Error("pebble", "message", err.Error()) },
		DataCorruption:  func(i pebble.DataCorruptionInfo) { l.Error("pebble", "message", i.String()) },
	}
}

// adapter gives Pebble's messages to slog.
type adapter struct{ *slog.Logger }

func (a adapter) Infof(format string, args ...any)  { a.Debug("pebble", "message", lazy{format, args}) }
func (a adapter) Errorf(format string, args ...any) { a.Error("pebble", "message", lazy{format, args}) }

// Fatalf must not return. It does not end the process either: the panic becomes
// the error of the call that met it.
func (a adapter) Fatalf(format string, args ...any) {
	err := fatalError{fmt.Errorf(format, args...)}
	a.Error("pebble", "message", err.Error())
	panic(err)
}

// lazy is a message that is made only if somebody reads it.
type lazy struct {
	format string
	args   []any
}

func (l lazy) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf(l.format, l.args...)) }

// fatalError is what Pebble cannot go on after.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

func recoverFatal(err *error) {
	switch p := recover().(type) {
	case nil:
	case fatalError:
		*err = p
	default:
		panic(p)
	}
}

// Size estimates the bytes on disk of the keys of r. What was written a moment
// ago is not in a table yet and not counted; [Store.Flush] puts it there.
func (s *Store) Size(ctx context.Context, r kv.Range) (int64, error) {
	err := s.begin(ctx)
	if err == nil {
		defer s.users.Done()
		var n uint64
		if n, err = s.size(r); err == nil {
			return int64(n), nil
		}
	}
	return 0, fmt.Errorf("pebblekv: size: %w", err)
}

func (s *Store) size(r kv.Range) (uint64, error) {
	to := r.To
	if to == nil {
		to = lastKey()
	}
	if string(r.From) >= string(to) {
		return 0, nil
	}
	return s.db.EstimateDiskUsage(r.From, to)
}

// lastKey is behind every key.
func lastKey() []byte { return bytes.Repeat([]byte{0xff}, kv.MaxKey+1) }

// Flush writes what is in memory into tables.
func (s *Store) Flush(ctx context.Context) error {
	return s.maintain(ctx, "flush", s.db.Flush)
}

// Compact rewrites all tables without what was deleted or replaced. It takes
// minutes for millions of records; other calls go on meanwhile.
func (s *Store) Compact(ctx context.Context) error {
	return s.maintain(ctx, "compact", func() error {
		if err := s.db.Flush(); err != nil {
			return err
		}
		return s.db.Compact(ctx, nil, lastKey(), true)
	})
}

func (s *Store) maintain(ctx context.Context, verb string, f func() error) (err error) {
	if err = s.begin(ctx); err == nil {
		defer s.users.Done()
		err = f()
	}
	if err != nil {
		return fmt.Errorf("pebblekv: %s: %w", verb, err)
	}
	return nil
}
