package jsstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/pack"
)

// extension is what hash-stream puts behind the key of a pack unless it is told otherwise.
const extension = ".car"

// PackOptions says where packs are in their store.
type PackOptions struct {
	Prefix string // begins every key; default none
	Layout Layout // default Disk
	// Extensions are what may stand behind a key, tried in this order. Default
	// ".car". New packs get the first.
	Extensions []string
}

// Packs makes hash-stream's packs those of [pack.Key], where they are. It is a [blob.Store]:
// what hash-stream's layout cannot name is [fs.ErrInvalid]. On disk, without a
// prefix, it changes nothing.
type Packs struct {
	store blob.Store
	o     PackOptions
}

var (
	_ blob.Store       = (*Packs)(nil)
	_ blob.Conditional = (*Packs)(nil)
	_ blob.Drafter     = (*Packs)(nil)
)

// NewPacks returns the packs in store.
func NewPacks(store blob.Store, o *PackOptions) *Packs {
	p := &Packs{store: store}
	if o != nil {
		p.o = *o
	}
	if p.o.Layout == "" {
		p.o.Layout = Disk
	}
	if len(p.o.Extensions) == 0 {
		p.o.Extensions = []string{extension}
	}
	return p
}

// names returns the keys that hash-stream may have given to key.
func (p *Packs) names(key string) ([]string, error) {
	d, err := pack.ParseKey(key)
	if err != nil {
		return nil, fmt.Errorf("jsstore: key %q is no pack: %w", key, fs.ErrInvalid)
	}
	var names []string
	for _, ext := range p.o.Extensions {
		names = append(names, p.o.Prefix+p.o.Layout.key(d)+ext)
	}
	return names, nil
}

// first calls f with each name until one is there.
func first[T any](p *Packs, key string, f func(name string) (T, error)) (v T, err error) {
	names, err := p.names(key)
	if err != nil {
		return v, err
	}
	for _, name := range names {
		if v, err = f(name); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return v, err
}

// Get implements [blob.Getter].
func (p *Packs) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	return first(p, key, func(name string) (blob.Object, error) { return p.store.Get(ctx, name, off, n) })
}

// GetIf implements [blob.Conditional]. It matches [errors.ErrUnsupported] where the
// store does not.
func (p *Packs) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	c, ok := p.store.(blob.Conditional)
	if !ok {
		return nil, fmt.Errorf("jsstore: conditional read of %s: %w", key, errors.ErrUnsupported)
	}
	return first(p, key, func(name string) (blob.Object, error) { return c.GetIf(ctx, name, identity, off, n) })
}

// Stat implements [blob.Stater].
func (p *Packs) Stat(ctx context.Context, key string) (blob.Info, error) {
	info, err := first(p, key, func(name string) (blob.Info, error) { return p.store.Stat(ctx, name) })
	if err == nil {
		info.Key = key
	}
	return info, err
}

// Put implements [blob.Putter].
func (p *Packs) Put(ctx context.Context, key string, r io.Reader) error {
	names, err := p.names(key)
	if err != nil {
		return err
	}
	return p.store.Put(ctx, names[0], r)
}

// Draft implements [blob.Drafter]. It matches [errors.ErrUnsupported] where the store does not.
func (p *Packs) Draft(ctx context.Context) (blob.Draft, error) {
	s, ok := p.store.(blob.Drafter)
	if !ok {
		return nil, fmt.Errorf("jsstore: draft: %w", errors.ErrUnsupported)
	}
	d, err := s.Draft(ctx)
	if err != nil {
		return nil, err
	}
	return draft{d, p}, nil
}

type draft struct {
	blob.Draft
	packs *Packs
}

func (d draft) Commit(ctx context.Context, key string) error {
	names, err := d.packs.names(key)
	if err != nil {
		return errors.Join(err, d.Discard())
	}
	return d.Draft.Commit(ctx, names[0])
}

// Delete implements [blob.Deleter].
func (p *Packs) Delete(ctx context.Context, key string) error {
	names, err := p.names(key)
	for _, name := range names {
		err = errors.Join(err, p.store.Delete(ctx, name))
	}
	return err
}

// List implements [blob.Lister]. Objects that are no packs are passed over.
func (p *Packs) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for info, err := range p.store.List(ctx, p.o.Prefix+prefix) {
			if err != nil {
				yield(blob.Info{}, err)
				return
			}
			key, ok := p.key(info.Key)
			if !ok {
				continue
			}
			info.Key = key
			if !yield(info, nil) {
				return
			}
		}
	}
}

// key is what [pack.Key] calls the object name.
func (p *Packs) key(name string) (string, bool) {
	name, ok := strings.CutPrefix(name, p.o.Prefix)
	if !ok {
		return "", false
	}
	for _, ext := range p.o.Extensions {
		bare, ok := strings.CutSuffix(name, ext)
		if i := strings.IndexByte(bare, '/'); ok && p.o.Layout == S3 && i >= 0 && bare[:i] == bare[i+1:] {
			bare = bare[:i]
		}
		d, err := digest.Parse(bare)
		if ok && err == nil && p.o.Layout.key(d)+ext == name {
			return pack.Key(d), true
		}
	}
	return "", false
}
