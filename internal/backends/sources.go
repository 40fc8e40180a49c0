package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobfs"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/blob/treeblob"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/origin"
)

// ErrNoRoot reports a source that lies below none of the configured roots.
var ErrNoRoot = errors.New("it is below no root of [sources]")

// Sources is the roots below which content may stay where it is. It reads raw files by
// their path or URL, and nothing that lies elsewhere.
//
// Sources are safe for concurrent use.
type Sources struct {
	roots []*root
	o     Options
}

var _ blob.Conditional = (*Sources)(nil)

// root is a directory, a bucket or a web server, opened when it is first needed.
type root struct {
	name string // canonical, without credentials and query; no slash at the end
	raw  string
	tree bool // of this machine

	mu     sync.Mutex
	store  blobfs.Store
	list   func(ctx context.Context, prefix string) iter.Seq2[blobfs.Entry, error] // nil for directories and web servers
	closer io.Closer
	before io.Closer // of the directory that was there before, whose files may be open
}

// NewSources returns the sources below the roots, which are absolute paths or URLs. It
// opens nothing.
func NewSources(roots []string, o *Options) (*Sources, error) {
	s := &Sources{}
	if o != nil {
		s.o = *o
	}
	for _, raw := range roots {
		name, tree, err := canonical(raw)
		if err != nil {
			return nil, fmt.Errorf("backends: sources: root %s: %w", config.Redact(raw), err)
		}
		s.roots = append(s.roots, &root{name: name, raw: raw, tree: tree})
	}
	return s, nil
}

// Close closes what was opened.
func (s *Sources) Close() error {
	var errs []error
	for _, r := range s.roots {
		for _, c := range []io.Closer{r.closer, r.before} {
			if c != nil {
				errs = append(errs, c.Close())
			}
		}
	}
	return errors.Join(errs...)
}

// SourceName returns the canonical form of what a command was told: an absolute path
// without symbolic links, or a URL without query and credentials.
func SourceName(arg string) (string, error) {
	if !strings.Contains(arg, "://") {
		abs, err := filepath.Abs(arg)
		if err != nil {
			return "", err
		}
		arg = abs
	}
	name, _, err := canonical(arg)
	if err != nil {
		return "", fmt.Errorf("source %s: %w", config.Redact(arg), err)
	}
	return name, nil
}

func canonical(raw string) (name string, tree bool, err error) {
	if filepath.IsAbs(raw) {
		return resolved(filepath.Clean(raw)), true, nil
	}
	u, err := url.Parse(raw)
	if err != nil { // its text may quote a password
		return "", false, fmt.Errorf("neither an absolute path nor a URL: %w", fs.ErrInvalid)
	}
	switch u.Scheme {
	case "file":
		return resolved(filepath.Clean(u.Path)), true, nil
	case "http", "https", "s3", "gs", "azblob":
	default:
		return "", false, fmt.Errorf("want an absolute path, or a URL with s3, gs, azblob, https or http: %w", fs.ErrInvalid)
	}
	if u.Host == "" {
		return "", false, fmt.Errorf("the bucket or host is missing: %w", fs.ErrInvalid)
	}
	if u.Path != "" && path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") && u.Path != "/" {
		return "", false, fmt.Errorf("its path has empty or dotted segments: %w", fs.ErrInvalid)
	}
	return u.Scheme + "://" + u.Host + strings.TrimSuffix(u.Path, "/"), false, nil
}

// find returns the root of a canonical name, the longest if several are, and the rest of the
// name: empty for the root itself.
func (s *Sources) find(name string) (*root, string, error) {
	var best *root
	for _, r := range s.roots {
		if (best == nil || len(r.name) > len(best.name)) && (name == r.name || strings.HasPrefix(name, strings.TrimSuffix(r.name, "/")+"/")) {
			best = r
		}
	}
	if best == nil {
		return nil, "", fmt.Errorf("backends: %s: %w", name, ErrNoRoot)
	}
	return best, strings.TrimPrefix(strings.TrimPrefix(name, best.name), "/"), nil
}

// GetIf opens n bytes from off of the file at path, if it still has identity.
func (s *Sources) GetIf(ctx context.Context, path, identity string, off, n int64) (blob.Object, error) {
	r, key, err := s.find(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	store, _, err := r.open(ctx, s.o)
	if err != nil {
		return nil, err
	}
	obj, err := store.GetIf(ctx, key, identity, off, n)
	if r.tree && errors.Is(err, fs.ErrNotExist) {
		if store = r.renewed(store); store != nil {
			return store.GetIf(ctx, key, identity, off, n)
		}
	}
	return obj, err
}

// renewed opens a directory anew if another has taken its place since store was opened, as
// when a disk is mounted. It returns nil if none has.
func (r *root) renewed(store blobfs.Store) blobfs.Store {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store != store {
		return r.store // somebody else was faster
	}
	now, err := os.Stat(r.name)
	if err != nil {
		return nil
	}
	was, err := fs.Stat(store.(*treeblob.Tree).FS(), ".")
	if err == nil && os.SameFile(was, now) {
		return nil
	}
	t, err := treeblob.Open(r.name)
	if err != nil {
		return nil
	}
	if r.before != nil {
		r.before.Close()
	}
	r.before, r.store, r.closer = r.closer, t, t
	return t
}

func (r *root) open(ctx context.Context, o Options) (blobfs.Store, func(context.Context, string) iter.Seq2[blobfs.Entry, error], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store != nil {
		return r.store, r.list, nil
	}
	err := r.dial(context.WithoutCancel(ctx), o)
	if err != nil {
		err = fmt.Errorf("backends: source %s: %w", r.name, err)
	}
	return r.store, r.list, err
}

func (r *root) dial(ctx context.Context, o Options) error {
	switch {
	case r.tree:
		t, err := treeblob.Open(r.name)
		if err != nil {
			return err
		}
		r.store, r.closer = t, t
	case strings.HasPrefix(r.name, "http"):
		s, err := webStore(r.raw)
		if err != nil {
			return err
		}
		r.store = s
	default:
		options := cloudOptions(o)
		options.Trace = noting(o.Cloud)
		s, err := cloudblob.Open(ctx, r.raw, options)
		if err != nil {
			return err
		}
		r.store, r.closer, r.list = s, s, bucketList(s)
	}
	return nil
}

// skippedKey finds, in the context of a listing, where the first name that was left out
// is noted.
type skippedKey struct{}

// noting is a trace that notes what listings leave out.
func noting(trace *cloudblob.Trace) *cloudblob.Trace {
	t := cloudblob.Trace{}
	if trace != nil {
		t = *trace
	}
	told := t.Skipped
	t.Skipped = func(ctx context.Context, name string) {
		if first, ok := ctx.Value(skippedKey{}).(*string); ok && *first == "" {
			*first = name
		}
		if told != nil {
			told(ctx, name)
		}
	}
	return &t
}

// bucketList lists a directory of a bucket. An object that has no place in a tree is an
// error: to leave it out would be to lose it.
func bucketList(s *cloudblob.Store) func(context.Context, string) iter.Seq2[blobfs.Entry, error] {
	return func(ctx context.Context, prefix string) iter.Seq2[blobfs.Entry, error] {
		return func(yield func(blobfs.Entry, error) bool) {
			skipped := ""
			for e, err := range s.Dir(context.WithValue(ctx, skippedKey{}, &skipped), prefix) {
				if skipped != "" {
					break
				}
				if !yield(blobfs.Entry{Name: e.Name, Dir: e.Dir, Info: e.Info}, err) || err != nil {
					return
				}
			}
			if skipped != "" {
				yield(blobfs.Entry{}, fmt.Errorf("backends: object %.300q has no place in a tree: %w", skipped, fs.ErrInvalid))
			}
		}
	}
}

// Open opens the tree of a source by its canonical name, for as long as ctx lives. It is an
// [origin.Opener].
func (s *Sources) Open(ctx context.Context, name string) (origin.Tree, io.Closer, error) {
	r, key, err := s.find(name)
	if err != nil {
		return origin.Tree{}, nil, err
	}
	if r.tree {
		return openTree(r.name, key)
	}
	store, list, err := r.open(ctx, s.o)
	if err != nil {
		return origin.Tree{}, nil, err
	}
	t := origin.Tree{Name: ".", Identity: blobfs.Identity}
	dir := key
	if key != "" {
		// A key may be an object, or the prefix of others.
		if _, err := store.Stat(ctx, key); err == nil {
			t.Name, dir = path.Base(key), path.Dir(key)
		} else if !errors.Is(err, fs.ErrNotExist) || list == nil {
			return origin.Tree{}, nil, err
		}
	}
	if dir == "." {
		dir = ""
	}
	if t.Name == "." && list == nil {
		return origin.Tree{}, nil, fmt.Errorf("backends: %s: a web server has no listing; name its files one by one: %w", name, errors.ErrUnsupported)
	}
	t.Path = func(file string) string { return r.name + "/" + path.Join(dir, file) }
	t.FS = blobfs.New(ctx, below{store, dir}, belowList(list, dir), nil)
	return t, nothing{}, nil
}

// openTree opens a directory or a file below a root of this machine. No link on the way
// leads out of the root.
func openTree(dir, key string) (origin.Tree, io.Closer, error) {
	t := origin.Tree{Name: ".", Identity: treeblob.Identity, Same: treeblob.Same}
	if key != "" {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return t, nil, err
		}
		fi, err := root.Lstat(filepath.FromSlash(key))
		root.Close()
		if err != nil {
			return t, nil, err
		}
		if !fi.IsDir() {
			t.Name, key = path.Base(key), path.Dir(key)
		}
	}
	at := filepath.Join(dir, filepath.FromSlash(key))
	if resolved(at) != at {
		return t, nil, fmt.Errorf("%s: it leads through a symbolic link: %w", at, fs.ErrInvalid)
	}
	tree, err := treeblob.Open(at)
	if err != nil {
		return t, nil, err
	}
	t.FS = tree.FS()
	t.Path = func(name string) string { return filepath.Join(at, filepath.FromSlash(name)) }
	return t, tree, nil
}

// below is the part of a store below a prefix.
type below struct {
	blobfs.Store
	dir string
}

func (b below) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	return b.Store.Get(ctx, path.Join(b.dir, key), off, n)
}

func (b below) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	return b.Store.GetIf(ctx, path.Join(b.dir, key), identity, off, n)
}

func (b below) Stat(ctx context.Context, key string) (blob.Info, error) {
	return b.Store.Stat(ctx, path.Join(b.dir, key))
}

func belowList(list func(context.Context, string) iter.Seq2[blobfs.Entry, error], dir string) func(context.Context, string) iter.Seq2[blobfs.Entry, error] {
	if list == nil || dir == "" {
		return list
	}
	return func(ctx context.Context, prefix string) iter.Seq2[blobfs.Entry, error] {
		return list(ctx, dir+"/"+prefix)
	}
}
