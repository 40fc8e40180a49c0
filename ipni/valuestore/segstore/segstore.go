// Package segstore is a value store of its own on local disk, made for keys that are
// hashes and values that do not compress.
//
// A write goes to a log, which is synced once for all who wait, and to a table in memory. Full tables
// become segments: sorted files with filters (docs/formats/segment.md). Those of the whole range of keys
// are merged into runs of partitions, the equal parts of the range, and these with each other when
// there are several of a size: a record is written about four times in all, and no
// merge needs more room than a partition. A lookup asks the filters of all segments
// that may have the key, and reads a block of those that do.
//
// # Errors
//
// Damage matches [digest.ErrMismatch] and names file and offset; it is never told as
// absence. When a write fails nothing is acknowledged that is not durable, reads go on, and
// writes go on when the cause is gone. Malformed tags match [io/fs.ErrInvalid], use after
// Close [io/fs.ErrClosed].
//
// A Store is safe for concurrent use. One process opens a directory at a time.
package segstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/catalog"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/health"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/table"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/wal"
)

// Options of a store.
type Options struct {
	// KeyBytes is how many bytes of a key are kept: 32 (the default) or 8. Of short
	// keys, a reader gets the values of all keys with the same beginning and has to tell them
	// apart. It cannot be changed later.
	KeyBytes int
	// Memory is the bytes of records that are kept in memory before they become a
	// segment, all tables together. The default is 384 MiB. Besides, filters and indexes take 1.7
	// bytes a record.
	Memory int64
	// Partitions is how many parts of the range of keys are merged by themselves, a
	// power of two up to 256. The default is 16; a store that exists keeps its own.
	Partitions int
	// MergeRate is the bytes per second that merges may write. The default is no limit.
	MergeRate int
	// Reserve is the bytes that are to stay free on the disk. Below it puts are refused, below
	// half of it deletes too: what they match is syscall.ENOSPC. Removals are taken always, and their
	// space is won back by merges as long as these leave a quarter of it; what stands in the way of a
	// larger merge does not stop a smaller one. The default is 1 GiB, negative is none.
	Reserve int64
	// Log hears of what goes wrong in the background. The default is nobody.
	Log *slog.Logger

	free    func(dir string) (uint64, error) // bytes on the disk
	syncDir func(name string) error
}

// Store is an open store.
type Store struct {
	dir       string
	keyBytes  int
	tableSize int64
	reserve   *disk.Reserve
	files     *catalog.Dir
	slog      *slog.Logger
	limit     *rate.Limiter // nil if merges may write as fast as they can
	lock      *os.File

	mu      sync.Mutex // guards what follows
	current *version
	next    uint64        // number of the next file
	health  health.Record // of the work in the background
	changed chan struct{} // closed when the tables or segments changed, or one of the above

	removing sync.Mutex // held while the set of removed tags is changed; taken before those below
	editing  sync.Mutex // held while the manifest is written
	merging  sync.Mutex // held while segments are merged; taken first. It guards the next ones
	turn     int        // the partition that is looked at first for removed records
	tidied   time.Time  // before which removed records are not looked at again
	renewed  time.Time  // before which no old partition is written again
	tagLimit *rate.Limiter

	written atomic.Int64 // bytes that were written to logs and segments

	queue   *oplog.Queue
	log     *wal.Log // nil until something is written; the committer's alone
	last    wal.Place
	frame   []byte
	memory  table.Pool
	stop    context.CancelFunc
	ctx     context.Context // of the work in the background, not of a caller
	workers sync.WaitGroup
	flushes signal // there is a table to flush, or room for a segment
	merges  signal // there may be something to merge
	room    signal // there is room for a table, or there will be none
}

// signal wakes the one who waits for it; one that is not heard yet is not repeated.
type signal chan struct{}

func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}

const maxTables = 3 // in memory: one that is written, others that become segments

// Open opens the store in a directory, which is made if need be.
func Open(dir string, o *Options) (*Store, error) {
	s, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("segstore: open %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string, o *Options) (*Store, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.KeyBytes = cmp.Or(opts.KeyBytes, dhash.KeySize)
	opts.Memory = cmp.Or(opts.Memory, 384<<20)
	opts.Reserve = cmp.Or(opts.Reserve, 1<<30)
	if opts.KeyBytes != 8 && opts.KeyBytes != dhash.KeySize {
		return nil, fmt.Errorf("keys of %d bytes: %w", opts.KeyBytes, fs.ErrInvalid)
	}
	if n := opts.Partitions; n < 0 || n > 256 || n&(n-1) != 0 {
		return nil, fmt.Errorf("%d partitions: %w", n, fs.ErrInvalid)
	}
	if opts.free == nil {
		opts.free = disk.Free
	}
	if opts.syncDir == nil {
		opts.syncDir = disk.SyncDir
	}
	s := &Store{
		dir: dir, keyBytes: opts.KeyBytes, tableSize: opts.Memory / maxTables, slog: opts.Log,
		reserve: disk.NewReserve(dir, uint64(max(opts.Reserve, 0)), opts.free), files: catalog.New(dir, opts.syncDir), tagLimit: rate.NewLimiter(tagRate, tagRate),
		queue: oplog.NewQueue(), flushes: make(signal, 1), merges: make(signal, 1), room: make(signal, 1), changed: make(chan struct{}),
	}
	if s.slog == nil {
		s.slog = slog.New(slog.DiscardHandler)
	}
	if opts.MergeRate > 0 {
		s.limit = rate.NewLimiter(rate.Limit(opts.MergeRate), max(opts.MergeRate, 2<<20))
	}
	if err := s.start(opts.Partitions); err != nil {
		if s.current != nil {
			s.release(s.current)
		}
		s.memory.Close()
		if s.lock != nil {
			_ = s.lock.Close()
		}
		return nil, err
	}
	return s, nil
}

func (s *Store) start(partitions int) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	s.lock = f
	if err := disk.Lock(f); err != nil {
		return err
	}
	if err := s.load(partitions); err != nil {
		return err
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.workers.Go(s.committer)
	s.workers.Go(s.flusher)
	s.workers.Go(s.merger)
	s.flushes.raise()
	s.merges.raise()
	return nil
}

// Close ends the work in the background. Records that are in logs only are read from
// them by the next Open.
func (s *Store) Close() error {
	if !s.queue.Close() {
		return nil
	}
	s.stop()
	s.workers.Wait()
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	s.mu.Lock()
	v := s.current
	s.mu.Unlock()
	s.release(v) // files are closed with the last who reads them
	s.memory.Close()
	return errors.Join(err, s.lock.Close())
}

// Stats is what a store holds.
type Stats struct {
	Records     int64 // in segments and tables: those that were put twice may count twice, and removed ones count
	Bytes       int64 // of segments
	Segments    int
	Debt        int64 // bytes of segments that are not in a partition yet
	Memory      int64 // bytes of tables, indexes and filters
	RemovedTags int   // whose records still take space
}

// Stats returns what the store holds now.
func (s *Store) Stats() Stats {
	v := s.acquire()
	defer s.release(v)
	var st Stats
	for _, t := range v.Tables {
		st.Records += t.Records()
		st.Memory += t.Size()
	}
	for f := range v.Files() {
		st.Records += int64(f.Records())
		st.Bytes += f.Bytes
		st.Memory += f.Memory()
		st.Segments++
	}
	for _, f := range v.L0 {
		st.Debt += f.Bytes
	}
	st.RemovedTags = int(v.Removed.Len())
	return st
}

var _ valuestore.Store = (*Store)(nil)
