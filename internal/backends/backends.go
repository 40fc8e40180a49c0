// Package backends opens the stores that a configuration names by URL. It is the
// one place that knows all of them: an explicit map from URL scheme to
// constructor, for bytes and for keys. A new backend is an entry in a map.
//
//	file:PATH    bytes in a directory
//	http(s)://   bytes on a web server, read only
//	s3://, gs://, azblob://  bytes in a bucket (package cloudblob)
//	js+s3://     packs in a bucket as hash-stream names them there (package jsstore)
//	pebble:PATH  keys in a directory
//	postgres://  keys in a database (package pgkv)
//	mem:         bytes or keys in memory, gone at the end
//	segments:PATH  records of the provider index in a directory
//
// PATH is absolute or starts at the home directory; file:///PATH works too.
// Characters that URLs reserve are percent-encoded.
//
// # Errors
//
// A URL that cannot be used matches [io/fs.ErrInvalid]; one with an unknown scheme
// lists the known ones. An index that stays locked matches [ErrLocked].
//
// The functions are safe for concurrent use.
package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/blob/fsblob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

// Options tune what is opened.
type Options struct {
	// Cache is the memory for an embedded store's own cache, in bytes. Default: the
	// backend's.
	Cache int64
	// Cloud is told of the requests to buckets. Default: nothing.
	Cloud *cloudblob.Trace
	// Logger receives what a backend reports. Default: none.
	Logger *slog.Logger
}

// place is where a URL leads.
type place struct {
	where string // a path or URL, for the constructor
	name  string // the canonical URL without credentials
}

// backend opens the stores of one scheme. T is what it opens.
type backend[T any] struct {
	resolve func(home string, u *url.URL) (place, error)
	open    func(ctx context.Context, where string, o Options) (T, io.Closer, error)
}

// blobs is the map for bytes. The getters that can also be written are [blob.Store].
func blobs() map[string]backend[blob.Getter] {
	http := backend[blob.Getter]{resolveHTTP, openHTTP}
	return map[string]backend[blob.Getter]{
		"azblob": {resolveURL, openCloud},
		"file":   {resolvePath, openFile},
		"gs":     {resolveURL, openCloud},
		"http":   http,
		"https":  http,
		"js+s3":  {resolveURL, openJS},
		"mem":    {resolveMem, openMemBlob},
		"s3":     {resolveURL, openCloud},
	}
}

// kvs is the map for keys.
func kvs() map[string]backend[kv.Store] {
	return map[string]backend[kv.Store]{
		"mem":      {resolveMem, openMemKV},
		"pebble":   {resolvePath, openPebble},
		"postgres": {resolveURL, openPostgres},
	}
}

func openFile(_ context.Context, dir string, _ Options) (blob.Getter, io.Closer, error) {
	s, err := fsblob.Open(dir, nil)
	if err != nil {
		return nil, nil, err
	}
	return s, s, nil
}

func openMemBlob(context.Context, string, Options) (blob.Getter, io.Closer, error) {
	return memblob.New(), nothing{}, nil
}

func openMemKV(context.Context, string, Options) (kv.Store, io.Closer, error) {
	return memkv.New(), nothing{}, nil
}

func openPebble(_ context.Context, dir string, o Options) (kv.Store, io.Closer, error) {
	s, err := pebblekv.Open(dir, &pebblekv.Options{CacheBytes: o.Cache, Logger: o.Logger})
	if err != nil {
		return nil, nil, err
	}
	return s, s, nil
}

// nothing is the closer of what holds nothing.
type nothing struct{}

func (nothing) Close() error { return nil }

// Getter opens the store of bytes at rawURL for reading. It is a [blob.Store] if it
// can be written, and a [blob.Drafter] if it can start drafts.
func Getter(ctx context.Context, home, rawURL string, o *Options) (blob.Getter, io.Closer, error) {
	return open(ctx, blobs(), "packs", home, rawURL, o)
}

// Store opens the store of bytes at rawURL for reading and writing.
func Store(ctx context.Context, home, rawURL string, o *Options) (blob.Store, io.Closer, error) {
	g, closer, err := Getter(ctx, home, rawURL, o)
	if err != nil {
		return nil, nil, err
	}
	s, ok := g.(blob.Store)
	if !ok {
		return nil, nil, errors.Join(fmt.Errorf("backends: packs %s can only be read: %w", config.Redact(rawURL), fs.ErrPermission), closer.Close())
	}
	return s, closer, nil
}

// KV opens the store of keys at rawURL. See [OpenIndex] for one that a node may
// have open.
func KV(ctx context.Context, home, rawURL string, o *Options) (kv.Store, io.Closer, error) {
	return open(ctx, kvs(), "index", home, rawURL, o)
}

// Check returns an error if the stores of c have URLs that cannot be opened. It opens none.
func Check(c config.Config) error {
	_, _, packs := find(blobs(), "packs", c.Home, c.Store.Packs)
	_, _, index := find(kvs(), "index", c.Home, c.Store.Index)
	return errors.Join(packs, index, checkSources(c), checkIndexer(c))
}

// Packs returns the canonical URL of c's packs, without credentials.
func Packs(c config.Config) (string, error) {
	_, p, err := find(blobs(), "packs", c.Home, c.Store.Packs)
	return p.name, err
}

// IndexName returns the canonical URL of c's index, without credentials. A node
// shows it in its status, so that commands know whether they mean the same.
func IndexName(c config.Config) (string, error) {
	_, p, err := find(kvs(), "index", c.Home, c.Store.Index)
	return p.name, err
}

func open[T any](ctx context.Context, known map[string]backend[T], what, home, rawURL string, o *Options) (store T, closer io.Closer, err error) {
	b, p, err := find(known, what, home, rawURL)
	if err != nil {
		return store, nil, err
	}
	if o == nil {
		o = &Options{}
	}
	store, closer, err = b.open(ctx, p.where, *o)
	if err != nil {
		return store, nil, fmt.Errorf("backends: %s %s: %w", what, p.name, err)
	}
	return store, closer, nil
}

// find returns the backend of rawURL and where it leads.
func find[T any](known map[string]backend[T], what, home, rawURL string) (backend[T], place, error) {
	u, err := url.Parse(rawURL)
	if err != nil { // its text may quote a password
		return backend[T]{}, place{}, fmt.Errorf("backends: %s: not a URL: %w", what, fs.ErrInvalid)
	}
	b, ok := known[u.Scheme]
	if !ok {
		schemes := strings.Join(slices.Sorted(maps.Keys(known)), ", ")
		return b, place{}, fmt.Errorf("backends: %s: unknown scheme %q, known are %s: %w", what, u.Scheme, schemes, fs.ErrInvalid)
	}
	p, err := b.resolve(home, u)
	if err != nil {
		return b, p, fmt.Errorf("backends: %s %s: %w (%w)", what, config.Redact(rawURL), err, fs.ErrInvalid)
	}
	return b, p, nil
}

// resolvePath reads scheme:relative, scheme:/absolute and scheme:///absolute.
func resolvePath(home string, u *url.URL) (place, error) {
	switch {
	case u.Host != "" || u.User != nil:
		return place{}, fmt.Errorf("%q stands where a host does; write %s:PATH or %s:///PATH", u.Host, u.Scheme, u.Scheme)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return place{}, errors.New("a path takes no ? or #; write %3F or %23")
	}
	path := u.Path
	if u.Opaque != "" {
		var err error
		if path, err = url.PathUnescape(u.Opaque); err != nil {
			return place{}, err
		}
	}
	if path == "" || strings.ContainsRune(path, 0) {
		return place{}, errors.New("the path is missing or has a zero byte")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(home, path)
	}
	path = filepath.Clean(path)
	return place{path, (&url.URL{Scheme: u.Scheme, Path: resolved(path)}).String()}, nil
}

// resolved returns path with its existing part freed of symbolic links: two names of a
// directory must compare equal.
func resolved(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(resolved(dir), filepath.Base(path))
	}
	return path
}

func resolveMem(_ string, u *url.URL) (place, error) {
	if u.Opaque != "" || u.Host != "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return place{}, errors.New("memory has no path; write \"mem:\"")
	}
	return place{"", "mem:"}, nil
}

func resolveHTTP(_ string, u *url.URL) (place, error) {
	if u.Host == "" {
		return place{}, errors.New("the host is missing")
	}
	return place{u.String(), config.Redact(u.String())}, nil
}
