// Package ingest turns files, directories and existing CARs into packs and an index.
//
// [Add] and [AddFile] build the UnixFS DAG of their input by a profile of IPIP-499
// (https://specs.ipfs.tech/ipips/ipip-0499/) and write it in one pass, in
// depth-first pre-order, into packs (package pack), while they record it in an
// index (package index). [ImportCAR] stores a CAR byte for byte as a pack and
// records what it holds.
//
// A directory is scanned first, for names and sizes alone: from them the size of
// every parent block follows, so that each is given its room before its children
// are read. Then one goroutine reads, all cores hash, and the caller's goroutine
// writes in order. Memory is bounded by the largest directory and the number of
// directories, not by the bytes.
//
// # Errors
//
// An input that does not exist matches [io/fs.ErrNotExist], one that changed between
// scan and read [ErrChanged], and one that is no file, directory or symbolic link
// [ErrIrregular]. After any error nothing of the DAG can be found; whole packs that
// were already durable may remain.
//
// Calls are independent of each other and safe for concurrent use.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"runtime"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/unixfs"
)

var (
	// ErrChanged reports an input that is not what it was when it was scanned.
	ErrChanged = errors.New("changed while it was read; add it again")
	// ErrIrregular reports a device, a socket or a pipe.
	ErrIrregular = errors.New("is no file, directory or symbolic link")
	// ErrName reports a file name that UnixFS cannot carry.
	ErrName = errors.New("its name is not valid UTF-8")
)

// Destination is where an ingest puts things, and what it may ask.
type Destination struct {
	// Packs starts the packs.
	Packs blob.Drafter
	// Record starts the record of one DAG in an index. Nil means no index.
	Record func() Recorder
	// Has reports whether a block is known. It is asked once for each call of
	// [Add], to guess whether the input was added before. Nil means no.
	Has func(context.Context, digest.Digest) (bool, error)
	// Complete reports whether the whole DAG below a root is stored: adding it
	// again then stores nothing. Nil means no.
	Complete func(context.Context, digest.Digest) (bool, error)
	// Locate returns where a block is stored already, or an error that matches
	// [io/fs.ErrNotExist]. It is asked for every leaf if [Options.Dedup] is set,
	// concurrently.
	Locate func(context.Context, cid.Cid) (Known, error)
	// Blocks records the blocks of files that are one block, for [Place]. Nil means
	// that they are recorded as DAGs.
	Blocks BlockRecorder
}

// Known is where a block is stored already.
type Known struct {
	Location index.Location
	Offset   int64 // of the block's bytes
	Framed   bool  // the frame of a CAR section with this very CID stands before them
}

// Recorder records one DAG. It is an [index.Builder].
type Recorder interface {
	Open(index.Node) int
	Close(entry int, c cid.Cid, first int)
	Loose()
	Packed(ctx context.Context, n int, d digest.Digest) error
	Finish(context.Context) error
	Discard(context.Context) error
}

// BlockRecorder records single blocks. It is an [index.Blocks].
type BlockRecorder interface {
	Put(ctx context.Context, d digest.Digest, loc index.Location, offset, size int64)
	Flush(context.Context) error
}

// StoredBlock is a block of a file that was hashed before.
type StoredBlock struct {
	Known
	CID       cid.Cid
	Depth     int   // links from the root of the file
	Size      int64 // of the block, in bytes
	FileBytes int64 // file content that it carries itself
}

// Options are the settings of [Add] and [AddFile].
type Options struct {
	// Profile determines the CIDs. The zero value means [unixfs.V1].
	Profile unixfs.Profile
	// Hidden includes files and directories whose name begins with a dot. What is
	// named itself is always included.
	Hidden bool
	// Wrap is the name under which the input is put into a directory of its own.
	// Empty means that it is not.
	Wrap string
	// DryRun hashes only: nothing is written.
	DryRun bool
	// Dedup does not write leaves again that [Destination.Locate] finds, but lets
	// the index point to them. It saves space and costs contiguity.
	Dedup bool
	// Stored yields the blocks of a file of [Add] in depth-first order. No file is read
	// then, and their own records are not written again.
	Stored func(ctx context.Context, path string) iter.Seq2[StoredBlock, error]
	// PackSize is the largest size of a pack in bytes. Default pack.DefaultSize.
	PackSize int64
	// Concurrency is how many goroutines hash. Default GOMAXPROCS.
	Concurrency int
	// Trace observes.
	Trace Trace
}

// Trace is hooks, each of which may be nil. They are called on the goroutine of the
// caller.
type Trace struct {
	// Scanned tells how much there is to read, before the first byte is read.
	Scanned func(files, bytes int64)
	// Read tells that more file bytes were read and hashed, and what of. The
	// bytes of an input that may have been added before are read twice.
	Read func(path string, bytes int64)
	// Added tells the CID of a file, directory or symbolic link, children first.
	Added func(Entry)
	// Packed tells that pack number n is durable, in no particular order.
	Packed func(n int, d digest.Digest, size int64)
}

// Entry is a file, directory or symbolic link that was added.
type Entry struct {
	Path    string // as it was named, and below
	CID     cid.Cid
	Type    unixfs.Type // File, Directory or Symlink
	Size    int64       // file bytes, of a file
	DAGSize uint64      // bytes of all its blocks, each as often as it is linked

	Location index.Location // where the file stays, after [Place]
}

// Result is what an ingest made.
type Result struct {
	Root       cid.Cid
	Size       int64  // file bytes
	DAGSize    uint64 // bytes of all blocks, each as often as it is linked
	Blocks     int64  // occurrences of blocks in the DAG
	Duplicates int64  // of them, those that were not written because they occurred before or were known
	Packs      int
	PackBytes  int64
	Stored     bool // false if all was there already, and after a dry run
}

// Add stores the file, directory or symbolic link name of fsys: directories with
// all that is in them, symbolic links as such. The entries of a directory are taken
// in the order of their names' bytes.
func Add(ctx context.Context, fsys fs.FS, name string, dst Destination, o *Options) (Result, error) {
	return add(ctx, dst, o, func(s *scanner) (entry, error) {
		s.fsys = fsys
		return s.root(ctx, name)
	})
}

// AddFile stores the size bytes of r as a file. The name is for hooks and messages.
func AddFile(ctx context.Context, r io.ReaderAt, size int64, name string, dst Destination, o *Options) (Result, error) {
	return add(ctx, dst, o, func(s *scanner) (entry, error) {
		s.files, s.bytes = 1, size
		return entry{name: name, kind: unixfs.File, size: size, reader: r}, nil
	})
}

func add(ctx context.Context, dst Destination, opts *Options, scan func(*scanner) (entry, error)) (Result, error) {
	o, err := opts.complete()
	if err != nil {
		return Result{}, err
	}
	s := &scanner{profile: o.Profile, hidden: o.Hidden}
	root, err := scan(s)
	if err == nil && o.Wrap != "" {
		root, err = s.wrap(o.Wrap, root)
	}
	if err != nil {
		return Result{}, fmt.Errorf("ingest: %w", err)
	}
	if o.Trace.Scanned != nil {
		o.Trace.Scanned(s.files, s.bytes)
	}
	res, err := (&adder{o: o, dst: dst, scan: s, root: root, maxSeen: maxSeen}).add(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("ingest: %w", err)
	}
	res.Size = s.bytes
	return res, nil
}

func (o *Options) complete() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Profile == (unixfs.Profile{}) {
		p, err := unixfs.ParseProfile(unixfs.V1)
		if err != nil {
			return c, err
		}
		c.Profile = p
	}
	if c.Concurrency <= 0 {
		c.Concurrency = runtime.GOMAXPROCS(0)
	}
	if err := c.Profile.Validate(); err != nil {
		return c, fmt.Errorf("ingest: %w", err)
	}
	return c, nil
}
