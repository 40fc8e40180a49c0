package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
)

// Store is where a [Writer] writes.
type Store interface {
	blob.Store
	blob.Drafter
}

// Writer records advertisements in a mirror, which it reads too.
type Writer struct {
	*Mirror
	store Store
}

// OpenWriter returns a writer to the mirror in a store, which may be empty.
func OpenWriter(ctx context.Context, store Store, o *Options) (*Writer, error) {
	m, err := Open(ctx, store, o)
	if err != nil {
		return nil, err
	}
	w := &Writer{m, store}
	if len(m.layout.split) > 0 {
		if err := w.initLayout(ctx); err != nil {
			return nil, fmt.Errorf("mirror: open: %w", err)
		}
	}
	return w, nil
}

// initLayout writes the layout to an empty store. A store that has objects and does not say
// how they are laid out has them flat.
func (w *Writer) initLayout(ctx context.Context) error {
	for info, err := range w.store.List(ctx, "") {
		if err == nil && info.Key != layoutKey {
			_, err = readLayout(ctx, w.store)
			if errors.Is(err, fs.ErrNotExist) {
				w.layout, err = layout{}, nil
			}
			return err
		}
		if err != nil || info.Key == layoutKey {
			return err
		}
	}
	b, err := w.layout.encode()
	if err != nil {
		return err
	}
	return w.store.Put(ctx, layoutKey, strings.NewReader(string(b)))
}

// Has reports whether the archive of an advertisement is there.
func (w *Writer) Has(ctx context.Context, ad cid.Cid) (bool, error) {
	for _, key := range w.keys(ad) {
		_, err := w.store.Stat(ctx, key)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("mirror: look for archive of %s: %w", ad, err)
		}
	}
	return false, nil
}

// Store records an advertisement with the blocks of its entries, of which there may be none.
// It does nothing if the archive is there, unless [Options].Overwrite says otherwise.
func (w *Writer) Store(ctx context.Context, ad cid.Cid, data []byte, entries iter.Seq2[block.Block, error]) error {
	r, err := w.Begin(ctx, ad, data)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Discard()
	for b, err := range entries {
		if err == nil {
			err = r.Add(ctx, b.CID, b.Data)
		}
		if err != nil {
			return fmt.Errorf("mirror: store %s: %w", ad, err)
		}
	}
	return r.Commit(ctx)
}

// Remove removes the archive of an advertisement.
func (w *Writer) Remove(ctx context.Context, ad cid.Cid) error {
	for _, key := range w.keys(ad) {
		if err := w.store.Delete(ctx, key); err != nil {
			return fmt.Errorf("mirror: remove archive of %s: %w", ad, err)
		}
	}
	return nil
}

// RemoveHead removes the head of a provider.
func (w *Writer) RemoveHead(ctx context.Context, provider peer.ID) error {
	if err := w.store.Delete(ctx, w.headKey(provider)); err != nil {
		return fmt.Errorf("mirror: remove head of %s: %w", provider, err)
	}
	return nil
}

// SetHead makes ad the newest advertisement of a provider. Everything from it down to the
// former head, or to the end of the chain, must be in the mirror: otherwise the error
// matches [io/fs.ErrNotExist], names what is missing, and the head stays what it was.
// [Options].Partial lifts that for what is below ad.
func (w *Writer) SetHead(ctx context.Context, provider peer.ID, ad cid.Cid) error {
	former, err := w.Head(ctx, provider)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mirror: set head: %w", err)
	}
	if former.Equals(ad) {
		return nil
	}
	if err := w.checkChain(ctx, ad, former); err != nil {
		return fmt.Errorf("mirror: set head of %s to %s: %w", provider, ad, err)
	}
	if err := w.store.Put(ctx, w.headKey(provider), strings.NewReader(ad.String())); err != nil {
		return fmt.Errorf("mirror: set head of %s: %w", provider, err)
	}
	return nil
}

// checkChain wants every advertisement from ad down to former.
func (w *Writer) checkChain(ctx context.Context, ad, former cid.Cid) error {
	for at := ad; at.Defined() && !at.Equals(former); {
		a, err := w.Archive(ctx, at)
		if err != nil {
			return err
		}
		at = a.Previous()
		a.Close()
		if w.options.Partial {
			return nil
		}
	}
	return nil
}
