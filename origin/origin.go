// Package origin keeps content where it is: it indexes the files of a source, which
// is a directory, a bucket or a web server, by records that point into them, and
// follows what becomes of the files.
//
// A scan lists a source and compares it with a catalog of what was hashed. Files
// that are new or have changed become tasks of a pipeline, whose workers hash them
// (package ingest), here or on other machines. When all are done, directories are
// assembled from the catalog alone, with the CIDs that a normal add gives. A
// scan that is interrupted goes on where it was: what is in the catalog is not hashed
// again while its file keeps its identity.
//
// What a file held before it changed or went is unfindable as soon as a scan sees
// that; before, the condition on which it is read fails.
//
// # Errors
//
// A source that nobody knows matches [io/fs.ErrNotExist]; files that could not be
// indexed [ErrIncomplete], and a source that had files and has none [ErrEmptied].
//
// An [Indexer] is safe for concurrent use, by several processes too; two scans of one
// source at a time do the work twice.
package origin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/origin/catalog"
	"github.com/hashstream/hashstream/pipeline"
	"github.com/hashstream/hashstream/unixfs"
)

// ErrUnversioned reports a store that does not tell when a file changes: it gives
// neither a tag nor a time.
var ErrUnversioned = errors.New("its store does not tell when it changes, so it cannot stay there")

// ErrIncomplete reports a scan after which some files of the source are not indexed.
var ErrIncomplete = errors.New("some files could not be indexed")

// ErrDirectory reports a source of several files where one blob was wanted.
var ErrDirectory = errors.New("a directory has no form as one block; name its files one by one")

// ErrEmptied reports a source all of whose files have gone: a disk that is not mounted
// looks like that. Nothing of it was dropped.
var ErrEmptied = errors.New("it had files, and none is there now")

// Tree is how the files of a source are read.
type Tree struct {
	FS   fs.FS  // lists, and opens files that stay the same while they are open, or tell by their Stat
	Name string // in FS: "." or one file
	// Path returns where a file of FS is, as [index.Location] names it.
	Path func(name string) string
	// Identity returns what tells a file from the one that replaces it.
	Identity func(fs.FileInfo) string
	// Same returns what two names have in common if they are one file, or were before
	// a rename: empty means nothing. It may be nil.
	Same func(fs.FileInfo) string
}

func (t Tree) location(name string, fi fs.FileInfo) (index.Location, error) {
	l := index.Location{Path: t.Path(name), Version: t.Identity(fi)}
	if l.Version == "" {
		return l, ErrUnversioned
	}
	return l, nil
}

// Source is content that stays where it is.
type Source struct {
	URL     string         `json:"url"` // canonical, without credentials
	Profile unixfs.Profile `json:"profile"`
	Hidden  bool           `json:"hidden"` // with names that begin with a dot
	Level   index.Level    `json:"level"`  // of the records
	// Blob makes the source, which is one file, one BLAKE3 block, in place of what the
	// profile says. Its tree is stored beside the index.
	Blob bool `json:"blob,omitempty"`
}

// id tells sources apart: the same place with other settings has other CIDs.
func (s Source) id() catalog.ID {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // it is texts and numbers
	}
	sum := sha256.Sum256(b)
	return catalog.ID(sum[:16])
}

// fileLevel is the level of the records of files. Directories are assembled from the plans
// of files, so there are some whatever the level of the source.
func (s Source) fileLevel() index.Level {
	if s.Level == index.LevelSingle {
		return index.LevelAll
	}
	return s.Level
}

// Job is the id of the pipeline's job that indexes the source.
func (s Source) Job() string {
	id := s.id()
	return "origin-" + hex.EncodeToString(id[:])
}

// Status is what is known of a source.
type Status struct {
	Source
	Root    cid.Cid   `json:"-"` // of the last complete scan, or undefined
	Name    string    `json:"name"`
	Scanned time.Time `json:"scanned"` // when that began
	Files   int64     `json:"files"`
	Bytes   int64     `json:"bytes"`
	// Of the DAG below Root; 0 for one that was assembled before this was kept.
	DAGSize    uint64 `json:"dag_size,omitempty"` // bytes of blocks, each as often as it is linked
	Blocks     int64  `json:"blocks,omitempty"`
	Duplicates int64  `json:"duplicates,omitempty"`

	plan  string   // that was assembled for Root, in hex, or empty
	packs []string // that hold the directories below Root
	dirty bool     // the catalog is ahead of Root
}

// Opener opens the tree of a source by its URL.
type Opener func(ctx context.Context, url string) (Tree, io.Closer, error)

// Stores is where an Indexer keeps things.
type Stores struct {
	KV    kv.Store // of the index and of the catalog
	Index *index.Index
	// Destination is where blocks and records of a level go.
	Destination func(index.Level) (ingest.Destination, error)
	// RemovePack removes a pack that nothing needs any more.
	RemovePack func(ctx context.Context, pack string) error
}

// Options tunes an [Indexer]. Zero values mean the defaults.
type Options struct {
	// Concurrency is how many goroutines hash the files of one task. Default GOMAXPROCS.
	Concurrency int
	// PackSize is the largest size of a pack in bytes. Default: ingest's.
	PackSize int64
	// Read is told of file bytes that this process read and hashed. It may be nil.
	Read func(path string, bytes int64)
}

// Indexer indexes sources.
type Indexer struct {
	stores   Stores
	open     Opener
	pipeline *pipeline.Pipeline
	o        Options
}

// New returns an Indexer whose scans put their tasks into p.
func New(s Stores, open Opener, p *pipeline.Pipeline, o *Options) *Indexer {
	x := &Indexer{stores: s, open: open, pipeline: p}
	if o != nil {
		x.o = *o
	}
	return x
}

// Sources yields every source that was scanned.
func (x *Indexer) Sources(ctx context.Context) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		for p, err := range x.stores.KV.Scan(ctx, kv.Prefix([]byte{keySource})) {
			var s Status
			if err == nil {
				s, err = decodeSource(p.Value)
			}
			if err != nil {
				err = fmt.Errorf("origin: sources: %w", err)
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// Forget removes what is known of a source: its content is unfindable where it is
// nowhere else.
func (x *Indexer) Forget(ctx context.Context, src Source) error {
	st, err := x.status(ctx, src)
	if err != nil {
		return fmt.Errorf("origin: forget %s: %w", src.URL, err)
	}
	w := catalog.NewWriter(x.stores.KV)
	for p, err := range x.stores.KV.Scan(ctx, kv.Prefix(catalog.Prefix(src.id()))) {
		if err != nil {
			return fmt.Errorf("origin: forget %s: %w", src.URL, err)
		}
		e, err := catalog.Decode(p.Value)
		if err == nil && e.Kind == catalog.File {
			err = w.Put(ctx, index.RemovalOf(e.Location))
		}
		if err == nil {
			err = w.Put(ctx, kv.Delete(p.Key))
		}
		if err != nil {
			return fmt.Errorf("origin: forget %s: %w", src.URL, err)
		}
	}
	err = w.Flush(ctx)
	if err == nil {
		err = x.drop(ctx, st)
	}
	if err == nil {
		err = x.stores.KV.Batch(ctx, []kv.Op{kv.Delete(sourceKey(src.id()))})
	}
	if err != nil {
		return fmt.Errorf("origin: forget %s: %w", src.URL, err)
	}
	return nil
}

// status returns what is known of a source, with its zero value if nothing is.
func (x *Indexer) status(ctx context.Context, src Source) (Status, error) {
	b, err := x.stores.KV.Get(ctx, sourceKey(src.id()))
	if errors.Is(err, fs.ErrNotExist) {
		return Status{Source: src}, nil
	}
	if err != nil {
		return Status{}, err
	}
	return decodeSource(b)
}

// Clear removes every catalog, for an index that is emptied: what it remembers is
// believed to be indexed.
func Clear(ctx context.Context, store kv.Store) error {
	err := store.Batch(ctx, []kv.Op{kv.DeleteRange(kv.Prefix([]byte{keySource}))})
	if err = errors.Join(err, catalog.Clear(ctx, store)); err != nil {
		return fmt.Errorf("origin: clear: %w", err)
	}
	return nil
}
