// Package mirror keeps advertisement chains as content archives in a blob store, so that
// an index can be built again when publishers are gone.
//
// The files are those of the mirror of storetheindex, which reads what is written here and
// the other way round; docs/formats/mirror.md gives the bytes. An archive holds an
// advertisement and, after it, the blocks of its entries in the order in which they were
// read, nodes of a HAMT included. A head names the newest advertisement of a provider.
//
// [Writer] records advertisements while they are ingested. [Mirror] reads, from any
// [blob.Getter], and [Mirror.Chain] is a [ipni.Chain] out of a mirror, a publisher, or
// both.
//
// # Errors
//
// What the mirror does not hold matches [io/fs.ErrNotExist]. An object that is damaged,
// lies about its content or exceeds a limit matches [digest.ErrMismatch], and the error
// names it. A store that fails gives its own error.
//
// A Mirror, a Chain and a Writer are safe for concurrent use; a [Recording] belongs to one
// goroutine.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/mirror/adcar"
)

// Defaults and limits.
const (
	defaultMaxSize = 4 << 30
	defaultOpen    = 4
	maxHead        = 256 // bytes of a head: a CID and perhaps a line feed
)

// Suffixes of names.
const (
	archiveSuffix = ".car"
	gzipSuffix    = ".gz"
	headSuffix    = ".head"
)

// Options tunes a [Mirror] and a [Writer]. A nil Options or a zero field means the default.
type Options struct {
	// Plain says that archives are written without compression, and looked for so
	// first. Default: with gzip. Both are read.
	Plain bool
	// MaxSize is the size in bytes of the largest archive, before compression. Default 4 GiB.
	MaxSize int64
	// MaxOpen is how many archives a Chain holds open. Default 4.
	MaxOpen int
	// PathSplit says how names are split into directories where the store does not say: the
	// lengths of the leading parts of a name. Default: not at all. A Writer writes it
	// down in a store that is empty.
	PathSplit []int
	// Overwrite says that a Writer replaces archives that are there. Default: it does not.
	Overwrite bool
	// Partial says that a head may be set although an advertisement below it is not in
	// the mirror. Default: that is refused.
	Partial bool
}

func (o *Options) filled() Options {
	var f Options
	if o != nil {
		f = *o
	}
	if f.MaxSize <= 0 {
		f.MaxSize = defaultMaxSize
	}
	if f.MaxOpen <= 0 {
		f.MaxOpen = defaultOpen
	}
	return f
}

// Mirror reads a mirror.
type Mirror struct {
	store   blob.Getter
	layout  layout
	options Options
}

// Open returns the mirror in a store, whose layout it reads.
func Open(ctx context.Context, store blob.Getter, o *Options) (*Mirror, error) {
	m := &Mirror{store: store, options: o.filled()}
	l, err := readLayout(ctx, store)
	if errors.Is(err, fs.ErrNotExist) {
		l, err = newLayout(m.options.PathSplit)
	}
	if err != nil {
		return nil, fmt.Errorf("mirror: open: %w", err)
	}
	m.layout = l
	return m, nil
}

// Name returns the name of the archive of an advertisement: its CID and a suffix.
func Name(ad cid.Cid, compressed bool) string {
	if compressed {
		return ad.String() + archiveSuffix + gzipSuffix
	}
	return ad.String() + archiveSuffix
}

// keys returns where the archive of an advertisement may be, the likelier first.
func (m *Mirror) keys(ad cid.Cid) [2]string {
	return [2]string{m.layout.key(Name(ad, !m.options.Plain)), m.layout.key(Name(ad, m.options.Plain))}
}

// Archive opens the archive of an advertisement. The caller closes it.
func (m *Mirror) Archive(ctx context.Context, ad cid.Cid) (*adcar.Archive, error) {
	if !ad.Defined() {
		return nil, fmt.Errorf("mirror: open archive: %w: undefined CID", fs.ErrInvalid)
	}
	var err error
	for _, key := range m.keys(ad) {
		var a *adcar.Archive
		if a, err = adcar.Open(ctx, m.store, key, ad, m.options.MaxSize); err == nil {
			return a, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, fmt.Errorf("mirror: open archive of %s: %w", ad, err)
}

func (m *Mirror) headKey(provider peer.ID) string {
	return m.layout.key(provider.String() + headSuffix)
}

// Head returns the newest advertisement of a provider that is in the mirror.
func (m *Mirror) Head(ctx context.Context, provider peer.ID) (cid.Cid, error) {
	if err := provider.Validate(); err != nil {
		return cid.Undef, fmt.Errorf("mirror: head: %w: %w", fs.ErrInvalid, err)
	}
	c, err := m.head(ctx, m.headKey(provider))
	if err != nil {
		return cid.Undef, fmt.Errorf("mirror: head of %s: %w", provider, err)
	}
	return c, nil
}

func (m *Mirror) head(ctx context.Context, key string) (cid.Cid, error) {
	b, err := readSmall(ctx, m.store, key, maxHead)
	if err != nil {
		return cid.Undef, err
	}
	c, err := cid.Decode(strings.TrimSpace(string(b)))
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: %s: %w", digest.ErrMismatch, key, err)
	}
	return c, nil
}

// readSmall reads an object of at most n bytes.
func readSmall(ctx context.Context, g blob.Getter, key string, n int64) ([]byte, error) {
	obj, err := g.Get(ctx, key, 0, n+1)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	b, err := io.ReadAll(io.LimitReader(obj, n+1))
	if err == nil && int64(len(b)) > n {
		err = fmt.Errorf("%w: %s has more than %d bytes", digest.ErrMismatch, key, n)
	}
	return b, err
}

// headPrefixes begin the text of every peer id: that of an identity multihash, and that of
// a sha2-256. No archive's name begins so.
func headPrefixes() []string { return []string{"1", "Qm"} }

// Head is the newest advertisement of a provider.
type Head struct {
	Provider peer.ID
	Ad       cid.Cid
}

// Heads yields the heads in the mirror: where to start when an index is built again. A chain
// that holds advertisements of several providers is reached from each of them. A head that is
// damaged comes with its provider and an error that matches [digest.ErrMismatch], and
// others follow; any other error is the last. A store that cannot list gives
// [errors.ErrUnsupported]: ask for the heads of providers that are known.
func (m *Mirror) Heads(ctx context.Context) iter.Seq2[Head, error] {
	return func(yield func(Head, error) bool) {
		lister, ok := m.store.(blob.Lister)
		if !ok {
			yield(Head{}, fmt.Errorf("mirror: heads: the store cannot list: %w", errors.ErrUnsupported))
			return
		}
		for _, prefix := range headPrefixes() {
			for info, err := range lister.List(ctx, prefix) {
				if err != nil {
					yield(Head{}, fmt.Errorf("mirror: heads: %w", err))
					return
				}
				if more := m.yieldHead(ctx, info.Key, yield); !more {
					return
				}
			}
		}
	}
}

// yieldHead yields the head at key, if it is one.
func (m *Mirror) yieldHead(ctx context.Context, key string, yield func(Head, error) bool) bool {
	name, ok := strings.CutSuffix(path.Base(key), headSuffix)
	if !ok {
		return true
	}
	id, err := peer.Decode(name)
	if err != nil || key != m.headKey(id) {
		return true // something else
	}
	h := Head{Provider: id}
	h.Ad, err = m.Head(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return true // removed meanwhile
	}
	return yield(h, err) && (err == nil || errors.Is(err, digest.ErrMismatch))
}
