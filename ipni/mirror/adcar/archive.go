// Package adcar reads content archives that hold an advertisement and the blocks of its entries,
// out of a blob store: docs/formats/mirror.md.
//
// # Errors
//
// An archive that is damaged, lies about its content or exceeds a limit matches
// [digest.ErrMismatch], and the error names the object. A store that fails gives its own error.
//
// An [Archive] is safe for concurrent use.
package adcar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// MaxBlocks is how many blocks an archive may hold.
const MaxBlocks = 1 << 18

// ErrForeign reports a block that an archive has not.
var ErrForeign = errors.New("the archive does not hold the block")

// ErrClosed reports an archive that was closed before it was used.
var ErrClosed = fmt.Errorf("archive: %w", fs.ErrClosed)

// Archive is an advertisement with its entries. Blocks are read one at a time: in any order
// where the archive is not compressed, and best in the order in which they stand where it is.
type Archive struct {
	store   blob.Getter
	maxSize int64
	ad      cid.Cid
	key     string
	data    []byte // of the advertisement
	links   Links

	mu     sync.Mutex
	body   body // nil until entries are asked for
	closed bool
}

// body finds the blocks after the advertisement.
type body interface {
	// block returns a block, not verified. That it is not there is ErrForeign.
	block(ctx context.Context, c cid.Cid) ([]byte, error)
	// has reports whether the block is known to be there, without reading.
	has(c cid.Cid) bool
	// empty reports that there is nothing, which is known after a block was not found.
	empty() bool
	close()
}

// Open opens the archive of an advertisement at key, which is compressed if key ends in ".gz".
// One of more than maxSize bytes before compression is refused. The caller closes it.
func Open(ctx context.Context, store blob.Getter, key string, ad cid.Cid, maxSize int64) (*Archive, error) {
	a := &Archive{store: store, maxSize: maxSize, ad: ad, key: key}
	if err := a.open(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Archive) compressed() bool { return strings.HasSuffix(a.key, ".gz") }

// open reads the advertisement.
func (a *Archive) open(ctx context.Context) error {
	if a.compressed() {
		u, err := openUnpacked(ctx, a.store, a.key, a.maxSize)
		if err != nil {
			return a.wrap(err)
		}
		defer u.close()
		defer context.AfterFunc(ctx, u.cancel)()
		return a.wrap(a.readAd(u, func() error { return u.err }))
	}
	r, err := a.ranged(ctx)
	if err != nil {
		return a.wrap(err)
	}
	return a.wrap(a.readAd(r, func() error { return r.err }))
}

// ranged opens an archive that is not compressed.
func (a *Archive) ranged(ctx context.Context) (*ranged, error) {
	r, err := openRanged(ctx, a.store, a.key)
	if err == nil && r.size > a.maxSize {
		err = fmt.Errorf("%w: %w: %d bytes", digest.ErrMismatch, errLong, r.size)
	}
	return r, err
}

// readAd reads the advertisement, which is the first root and the first block.
func (a *Archive) readAd(r io.Reader, failed func() error) error {
	in, err := car.NewReader(r, archiveLimits())
	if err != nil {
		return failure(failed(), err)
	}
	if roots := in.Roots(); len(roots) == 0 || !roots[0].Equals(a.ad) {
		return fmt.Errorf("%w: the archive is of another advertisement", digest.ErrMismatch)
	}
	s, err := in.Next()
	if err != nil {
		return failure(failed(), err)
	}
	if !s.CID.Equals(a.ad) {
		return fmt.Errorf("%w: the archive begins with %s", digest.ErrMismatch, s.CID)
	}
	if a.data, err = in.Data(); err != nil {
		return failure(failed(), err)
	}
	if err := Verify(a.ad, a.data); err != nil {
		return err
	}
	a.links, _ = ReadLinks(a.ad, a.data) // one that says nothing is for the reader to judge
	return nil
}

// Ad returns the block of the advertisement. It hashes to its CID, and is not verified otherwise.
func (a *Archive) Ad() []byte { return slices.Clone(a.data) }

// Entries returns the first block of the entries, undefined if the advertisement has none.
func (a *Archive) Entries() cid.Cid { return a.links.Entries }

// Previous returns the advertisement before this one, undefined if there is none.
func (a *Archive) Previous() cid.Cid { return a.links.Previous }

// CID returns the advertisement that the archive is of.
func (a *Archive) CID() cid.Cid { return a.ad }

// Block returns a block of the entries. That the archive lacks it matches [ErrForeign], and
// besides [io/fs.ErrNotExist] if it was written without entries, [digest.ErrMismatch] if
// it holds some.
func (a *Archive) Block(ctx context.Context, c cid.Cid) ([]byte, error) {
	b, err := a.find(ctx, c)
	if errors.Is(err, ErrForeign) && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", digest.ErrMismatch, err)
	}
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", c, err)
	}
	return b, nil
}

// find is Block, without the kind of an ErrForeign.
func (a *Archive) find(ctx context.Context, c cid.Cid) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, a.wrap(ErrClosed)
	}
	if a.body == nil {
		if err := a.openBody(ctx); err != nil {
			return nil, a.wrap(err)
		}
	}
	b, err := a.body.block(ctx, c)
	if errors.Is(err, ErrForeign) && a.body.empty() {
		err = fmt.Errorf("%w: %w", ErrForeign, fs.ErrNotExist)
	}
	if err == nil {
		err = Verify(c, b)
	}
	if err != nil {
		return nil, a.wrap(err)
	}
	return b, nil
}

func (a *Archive) openBody(ctx context.Context) error {
	if a.compressed() {
		a.body = &stream{archive: a, seen: map[string]int{}}
		return nil
	}
	x, err := indexArchive(ctx, a)
	if err != nil {
		return err
	}
	a.body = x
	return nil
}

// Holds reports whether c is known to be in the archive.
func (a *Archive) Holds(c cid.Cid) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.body != nil && !a.closed && a.body.has(c)
}

// Close ends the reading.
func (a *Archive) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.body != nil && !a.closed {
		a.body.close()
	}
	a.closed = true
	return nil
}

// wrap names the object in an error of its content.
func (a *Archive) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", a.key, err)
}
