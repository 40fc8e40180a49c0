// Package unpack writes a verified DAG to disk: files, directories (HAMT shards
// included) and symbolic links, as UnixFS says (https://specs.ipfs.tech/unixfs/),
// or the blocks as they are, as a CAR.
//
// The bytes are verified by the source; the names are not, as whoever made the
// DAG chose them. A name is one plain component or the whole tree is refused. All
// writing happens through [os.Root], one per directory, and only ever creates: a
// second entry of the same name is refused, so that nothing is written through a
// link or a file that the tree itself brought along. Symbolic links are created
// with whatever target they have, also one outside of the output, because a tree
// may mean it; they are never followed here, and who opens them later should know
// where the tree is from. Mode and time of entries are not applied.
//
// Nothing that looks whole ever appears before it is: a file or a tree is written
// under a hidden temporary name beside its place and renamed at the end, or
// removed when anything fails. A process that is killed leaves the temporary name,
// which begins with [TempPrefix].
//
// # Errors
//
// Existing output matches [io/fs.ErrExist], a name that is refused [ErrName], a
// limit [ErrLimit]; errors of the source pass through.
//
// The functions are safe for concurrent use with different outputs.
package unpack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/unixfs"
)

var (
	// ErrName reports the name of an entry that cannot be written safely.
	ErrName = errors.New("unsafe name")
	// ErrLimit reports content beyond a limit of [Options].
	ErrLimit = errors.New("limit exceeded")
)

const (
	maxShown  = 300  // bytes of a path in an error
	maxName   = 255  // bytes of a component, on every common file system
	maxTarget = 4096 // bytes of a symbolic link's target, with its final zero on Linux
)

// Options adjust what is written. Nil and zero fields mean the defaults.
type Options struct {
	Force      bool              // replace what exists, a directory as a whole; default: refuse
	Sync       bool              // fsync files and directories; default: leave it to the system
	MaxBytes   int64             // of file content in one output; default: no limit
	MaxEntries int64             // files, directories and links in one tree; default 10 million
	MaxDepth   int               // directories inside each other; default 256
	Progress   func(n int64)     // bytes of file content written since the last call
	Entry      func(name string) // an entry is begun; its path in the tree, not safe to print unquoted
}

// Stats counts what was written.
type Stats struct {
	Bytes    int64 // of file content
	Files    int64
	Dirs     int64
	Symlinks int64
}

// Tree writes the file, directory or symbolic link root as name in dir.
func Tree(ctx context.Context, src block.Source, root cid.Cid, dir *os.Root, name string, o *Options) (Stats, error) {
	w := newWriter(src, o)
	err := replace(dir, name, &w.o, func(tmp string) error {
		return w.node(ctx, dir, tmp, root, 0)
	})
	if err != nil {
		return w.stats, fmt.Errorf("unpack: write %s: %w", w.where(name), err)
	}
	return w.stats, nil
}

// writer is the state of one tree.
type writer struct {
	src   block.Source
	o     Options
	stats Stats
	path  []string      // of the entry being written, below the root
	buf   *bufio.Writer // shared by all files, as they come one after the other
}

func newWriter(src block.Source, o *Options) *writer {
	w := &writer{src: src, buf: bufio.NewWriterSize(nil, bufferSize)}
	if o != nil {
		w.o = *o
	}
	if w.o.MaxEntries <= 0 {
		w.o.MaxEntries = 10_000_000
	}
	if w.o.MaxDepth <= 0 {
		w.o.MaxDepth = 256
	}
	if w.o.Progress == nil {
		w.o.Progress = func(int64) {}
	}
	if w.o.Entry == nil {
		w.o.Entry = func(string) {}
	}
	return w
}

// where returns the path at which the work stands, quoted, and the end of it if it
// is long: it may be hostile.
func (w *writer) where(name string) string {
	path := strings.Join(append([]string{name}, w.path...), "/")
	if over := len(path) - maxShown; over > 0 {
		return fmt.Sprintf("…%q", path[over:])
	}
	return fmt.Sprintf("%q", path)
}

// node writes the entity c as name in dir, where nothing of that name exists yet.
func (w *writer) node(ctx context.Context, dir *os.Root, name string, c cid.Cid, depth int) error {
	if n := w.stats.Files + w.stats.Dirs + w.stats.Symlinks; n >= w.o.MaxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrLimit, w.o.MaxEntries)
	}
	// Not every source looks at ctx.
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b, err := block.Get(ctx, w.src, c)
	if err != nil {
		return err
	}
	n, err := unixfs.Decode(b)
	if err != nil {
		return err
	}
	switch {
	case n.IsFile():
		w.stats.Files++
		return w.file(ctx, dir, name, b)
	case n.IsDir():
		w.stats.Dirs++
		return w.dir(ctx, dir, name, b, depth)
	case n.Type == unixfs.Symlink:
		w.stats.Symlinks++
		return symlink(dir, name, string(n.Data))
	}
	return fmt.Errorf("%s is of UnixFS type %s: nothing that can be written", c, n.Type)
}

func (w *writer) dir(ctx context.Context, parent *os.Root, name string, b block.Block, depth int) error {
	if depth >= w.o.MaxDepth {
		return fmt.Errorf("%w: directories nested deeper than %d", ErrLimit, w.o.MaxDepth)
	}
	if err := parent.Mkdir(name, 0o777); err != nil {
		return err
	}
	d, err := parent.OpenRoot(name)
	if err != nil {
		return err
	}
	defer d.Close()
	for link, err := range dag.Entries(ctx, w.src, b) {
		if err != nil {
			return err
		}
		if err := w.entry(ctx, d, link, depth); err != nil {
			return err
		}
	}
	if w.o.Sync {
		return syncDir(d)
	}
	return nil
}

func (w *writer) entry(ctx context.Context, dir *os.Root, link unixfs.Link, depth int) error {
	w.path = append(w.path, link.Name) // stays there on failure, for the error
	if err := checkName(link.Name); err != nil {
		return err
	}
	w.o.Entry(strings.Join(w.path, "/"))
	if err := w.node(ctx, dir, link.Name, link.CID, depth+1); err != nil {
		return err
	}
	w.path = w.path[:len(w.path)-1]
	return nil
}

func symlink(dir *os.Root, name, target string) error {
	if target == "" || len(target) >= maxTarget || strings.ContainsRune(target, 0) {
		return fmt.Errorf("%w: target of a symbolic link, %d bytes", ErrName, len(target))
	}
	return dir.Symlink(target, name)
}

// checkName accepts one plain component.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: empty", ErrName)
	case name == ".", !filepath.IsLocal(name), strings.ContainsAny(name, "/\x00"), strings.ContainsRune(name, filepath.Separator):
		return fmt.Errorf("%w: %q", ErrName, name)
	case len(name) > maxName:
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrName, len(name), maxName)
	}
	return nil
}

// primed is a source with one block at hand, so that reading an entity does not
// demand its root again.
type primed struct {
	block.Source
	name digest.Digest
	b    block.Block
}

func (p primed) Blocks(ctx context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	if d != p.name {
		return p.Source.Blocks(ctx, d)
	}
	return func(yield func(block.Block, error) bool) { yield(p.b, nil) }
}
