// Package find answers which providers have a multihash: it puts together the contexts
// that a lookup knows, their metadata, and what is known of their providers, among it the
// extended providers that stand in for them.
//
// [Open] is the half of a reader who keeps the multihash to itself: a lookup over an index
// that is asked by second hashes and answers with ciphertext.
//
// # Errors
//
// A provider or metadata that is not there is left out. If something could not be asked
// for, what is known is yielded all the same, and the error last: no results and no error is the
// only way to say that nobody has the multihash. If it was not all that could not be asked for, the
// error matches [ipni.ErrIncomplete]: what the lookup ended with that, or some of its contexts were
// listed but not completed, or the time was over. A list that broke off otherwise is a failure of the whole.
//
// All types are safe for concurrent use.
package find

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/registry"
)

// Providers tells what is known of providers, as [registry.Registry], [registry.Cache] and
// [Infos] do.
type Providers interface {
	// Provider returns what is known of a provider. If it is unknown, the error matches fs.ErrNotExist.
	Provider(ctx context.Context, id peer.ID) (registry.Provider, error)
	// Extended returns the extended providers of a context and those of the chain. Either is
	// nil if there are none.
	Extended(ctx context.Context, id peer.ID, contextID string) (contextual, chain *registry.Set, err error)
}

// Options set up a [Finder]. Nil means defaults.
type Options struct {
	Allowed func(peer.ID) bool // providers that results may name; default all

	// Ahead is how many contexts are completed at the same time. The default, one, is
	// for a lookup in this process. More are for one over a network; results then come in the
	// order in which they are complete.
	Ahead int
}

// Finder finds providers. It implements [ipni.Finder].
type Finder struct {
	lookup    ipni.Lookup
	providers Providers
	o         Options
}

var _ ipni.Finder = (*Finder)(nil)

// New returns a finder of what lookup knows.
func New(lookup ipni.Lookup, providers Providers, o *Options) *Finder {
	f := &Finder{lookup: lookup, providers: providers}
	if o != nil {
		f.o = *o
	}
	if f.o.Allowed == nil {
		f.o.Allowed = func(peer.ID) bool { return true }
	}
	return f
}

// Find yields the providers of mh, each with a context and metadata once: of each context the
// provider itself first, then its extended providers. Results are yielded as they are known. Who
// is unknown, not allowed or inactive is left out, and so is a context without metadata.
func (f *Finder) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return func(yield func(ipni.Result, error) bool) {
		var (
			failed failures
			seen   seen
		)
		for a, err := range f.answers(ctx, mh) {
			failed.add(err)
			for _, r := range a {
				if !seen.again(r) && !yield(r, nil) {
					return
				}
			}
		}
		if err := failed.verdict(ctx, seen.any); err != nil {
			yield(ipni.Result{}, fmt.Errorf("find: %w", err))
		}
	}
}

// answers yields the results of each context. An error is of one context, or a [listError].
func (f *Finder) answers(ctx context.Context, mh multihash.Multihash) iter.Seq2[[]ipni.Result, error] {
	if f.o.Ahead > 1 {
		return f.ahead(ctx, mh)
	}
	return func(yield func([]ipni.Result, error) bool) {
		for c, err := range f.lookup.Contexts(ctx, mh) {
			var a []ipni.Result
			if err != nil {
				err = listError{err}
			} else {
				a, err = f.complete(ctx, c)
			}
			if !yield(a, err) {
				return
			}
		}
	}
}

// ahead is answers with several contexts under way.
func (f *Finder) ahead(ctx context.Context, mh multihash.Multihash) iter.Seq2[[]ipni.Result, error] {
	return func(yield func([]ipni.Result, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		answers := make(chan answer)
		var producer sync.WaitGroup
		producer.Go(func() {
			defer close(answers)
			f.produce(ctx, mh, answers)
		})
		defer producer.Wait()
		defer cancel()
		for a := range answers {
			if !yield(a.results, a.err) {
				return
			}
		}
	}
}

type answer struct {
	results []ipni.Result
	err     error
}

// produce sends the answers of all contexts, until ctx ends.
func (f *Finder) produce(ctx context.Context, mh multihash.Multihash, to chan<- answer) {
	send := func(a answer) {
		select {
		case to <- a:
		case <-ctx.Done():
		}
	}
	var g errgroup.Group
	g.SetLimit(f.o.Ahead)
	for c, err := range f.lookup.Contexts(ctx, mh) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			send(answer{err: listError{err}})
			continue
		}
		g.Go(func() error {
			results, err := f.complete(ctx, c)
			send(answer{results, err})
			return nil
		})
	}
	g.Wait() // no task fails
}

// complete returns the results of a context.
func (f *Finder) complete(ctx context.Context, c ipni.Context) ([]ipni.Result, error) {
	if !f.o.Allowed(c.Provider) {
		return nil, nil
	}
	p, err := f.providers.Provider(ctx, c.Provider)
	if err == nil && p.Inactive {
		return nil, nil
	}
	var (
		metadata          []byte
		contextual, chain *registry.Set
	)
	if err == nil {
		metadata, err = f.lookup.Metadata(ctx, c)
	}
	if err == nil {
		contextual, chain, err = f.providers.Extended(ctx, c.Provider, c.ID)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return f.expand(c, p, metadata, contextual, chain), nil
}

// seen is the results that were yielded, by their hashes. Most lookups have one, for which
// there is no map.
type seen struct {
	first [sha256.Size]byte
	any   bool
	rest  map[[sha256.Size]byte]struct{}
}

// again reports whether r was met before.
func (s *seen) again(r ipni.Result) bool {
	var space [256]byte
	b := space[:0]
	for _, part := range [][]byte{[]byte(r.Provider.ID), r.ContextID, r.Metadata} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	key := sha256.Sum256(b)
	if !s.any {
		s.first, s.any = key, true
		return false
	}
	if _, ok := s.rest[key]; ok || key == s.first {
		return true
	}
	if s.rest == nil {
		s.rest = map[[sha256.Size]byte]struct{}{}
	}
	s.rest[key] = struct{}{}
	return false
}
