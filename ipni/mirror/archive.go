package mirror

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

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// errForeign reports a block that an archive has not.
var errForeign = errors.New("the archive does not hold the block")

// errClosed reports an archive that was closed before it was used.
var errClosed = fmt.Errorf("archive: %w", fs.ErrClosed)

// Archive is an advertisement with its entries. Blocks are read one at a time: in any order
// where the archive is not compressed, and best in the order in which they stand where it is.
type Archive struct {
	mirror *Mirror
	ad     cid.Cid
	key    string
	data   []byte // of the advertisement
	links  links

	mu     sync.Mutex
	body   body // nil until entries are asked for
	closed bool
}

// body finds the blocks after the advertisement.
type body interface {
	// block returns a block, not verified. That it is not there is errForeign.
	block(ctx context.Context, c cid.Cid) ([]byte, error)
	// has reports whether the block is known to be there, without reading.
	has(c cid.Cid) bool
	// empty reports that there is nothing, which is known after a block was not found.
	empty() bool
	close()
}

// Archive opens the archive of an advertisement. The caller closes it.
func (m *Mirror) Archive(ctx context.Context, ad cid.Cid) (*Archive, error) {
	if !ad.Defined() {
		return nil, fmt.Errorf("mirror: open archive: %w: undefined CID", fs.ErrInvalid)
	}
	var err error
	for _, key := range m.keys(ad) {
		a := &Archive{mirror: m, ad: ad, key: key}
		if err = a.open(ctx); err == nil {
			return a, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, fmt.Errorf("mirror: open archive of %s: %w", ad, err)
}

func (a *Archive) compressed() bool { return strings.HasSuffix(a.key, gzipSuffix) }

// open reads the advertisement.
func (a *Archive) open(ctx context.Context) error {
	if a.compressed() {
		u, err := openUnpacked(ctx, a.mirror.store, a.key, a.mirror.options.MaxSize)
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
	r, err := openRanged(ctx, a.mirror.store, a.key)
	if err == nil && r.size > a.mirror.options.MaxSize {
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
	if err := verify(a.ad, a.data); err != nil {
		return err
	}
	a.links, _ = readLinks(a.ad, a.data) // one that says nothing is for the reader to judge
	return nil
}

// Ad returns the block of the advertisement. It hashes to its CID, and is not verified otherwise.
func (a *Archive) Ad() []byte { return slices.Clone(a.data) }

// Entries returns the first block of the entries, undefined if the advertisement has none.
func (a *Archive) Entries() cid.Cid { return a.links.entries }

// Previous returns the advertisement before this one, undefined if there is none.
func (a *Archive) Previous() cid.Cid { return a.links.previous }

// Block returns a block of the entries. If the archive was written without entries, the
// error matches [io/fs.ErrNotExist]; if it holds some and lacks this one, [digest.ErrMismatch].
func (a *Archive) Block(ctx context.Context, c cid.Cid) ([]byte, error) {
	b, err := a.find(ctx, c)
	if errors.Is(err, errForeign) && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", digest.ErrMismatch, err)
	}
	if err != nil {
		return nil, fmt.Errorf("mirror: block %s: %w", c, err)
	}
	return b, nil
}

// find is Block, which says errForeign of a block that the archive has not.
func (a *Archive) find(ctx context.Context, c cid.Cid) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, a.wrap(errClosed)
	}
	if a.body == nil {
		if err := a.openBody(ctx); err != nil {
			return nil, a.wrap(err)
		}
	}
	b, err := a.body.block(ctx, c)
	if errors.Is(err, errForeign) && a.body.empty() {
		err = fmt.Errorf("%w: %w", errForeign, fs.ErrNotExist)
	}
	if err == nil {
		err = verify(c, b)
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

// holds reports whether c is known to be in the archive.
func (a *Archive) holds(c cid.Cid) bool {
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
