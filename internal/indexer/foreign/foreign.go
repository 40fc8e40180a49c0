// Package foreign puts the indexers of others beside the index of a node.
//
// # Errors
//
// Those of packages scatter and ipnihttp.
//
// An Index is safe for concurrent use.
package foreign

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/ipni/go-libipni/find/model"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/scatter"
)

// self names the index of the node itself.
const self = "this node"

// Index is the index of a node and those of others, asked together.
type Index struct {
	ipnihttp.Index
	scatter *scatter.Scatter
	clients []*ipnihttp.Client
}

// directory is an indexer as one that knows providers.
type directory struct{ ipnihttp.Providers }

// All describes all providers.
func (d directory) All(ctx context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return d.Providers.Providers(ctx)
}

// providers is what all of them know of providers.
type providers struct{ *scatter.Scatter }

// Providers describes all providers.
func (p providers) Providers(ctx context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return p.All(ctx)
}

// Open puts indexers beside own: those at URLs, and those that are only asked by a label, each as
// "LABEL=URL". Close must be called.
func Open(own ipnihttp.Index, urls, cascade []string) (_ *Index, err error) {
	x := &Index{Index: own, scatter: scatter.New(nil)}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.Close())
		}
	}()
	backends := []scatter.Backend{
		{Name: self, Class: scatter.Plain, Finder: own.Finder},
		{Name: self, Class: scatter.Encrypted, Sealed: own.Sealed},
		{Name: self, Class: scatter.Providers, Directory: directory{own.Providers}},
	}
	for _, url := range urls {
		client, err := x.client(url)
		if err != nil {
			return nil, err
		}
		backends = append(backends,
			scatter.Backend{Name: client.Name(), Class: scatter.Plain, Finder: client},
			scatter.Backend{Name: client.Name(), Class: scatter.Encrypted, Sealed: client},
			scatter.Backend{Name: client.Name(), Class: scatter.Providers, Directory: directory{client}})
	}
	for _, pair := range cascade {
		label, url, _ := strings.Cut(pair, "=")
		client, err := x.client(url)
		if err != nil {
			return nil, err
		}
		backends = append(backends, scatter.Backend{Name: client.Name(), Class: scatter.Cascade, Label: label, Finder: client})
	}
	if err := x.scatter.Set(backends); err != nil {
		return nil, err
	}
	x.Finder, x.Sealed, x.Providers = x.scatter, x.scatter, providers{x.scatter}
	return x, nil
}

func (x *Index) client(url string) (*ipnihttp.Client, error) {
	c, err := ipnihttp.NewClient(url, nil)
	if err == nil {
		x.clients = append(x.clients, c)
	}
	return c, err
}

// Close drops idle connections.
func (x *Index) Close() error {
	var errs []error
	for _, c := range x.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Breakers returns the other indexers, in each class, with the states of their breakers.
func (x *Index) Breakers() []scatter.Status {
	var all []scatter.Status
	for _, b := range x.scatter.Backends() {
		if b.Name != self {
			all = append(all, b)
		}
	}
	return all
}

// Labels returns the labels that [Index.Cascade] knows.
func (x *Index) Labels() []string { return x.scatter.Labels() }

// Cascade returns who answers a lookup that names labels: all that others are asked for, and
// what stands behind the labels; nil if no label is known.
func (x *Index) Cascade(labels []string) ipni.Finder {
	together := both{x.Finder}
	for _, known := range x.scatter.Labels() {
		for _, label := range labels {
			if label == known {
				together = append(together, x.scatter.Cascade(label))
			}
		}
	}
	if len(together) == 1 {
		return nil
	}
	return together
}

// both is finders that are asked one after the other.
type both []ipni.Finder

// Find yields what all of them have. What some could not say is no reason to keep what others did.
func (b both) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return func(yield func(ipni.Result, error) bool) {
		var failed []error
		n := 0
		for _, finder := range b {
			for r, err := range finder.Find(ctx, mh) {
				if err != nil {
					failed = append(failed, err)
					break
				}
				n++
				if !yield(r, nil) {
					return
				}
			}
		}
		err := errors.Join(failed...)
		if err != nil && n > 0 && !errors.Is(err, ipni.ErrIncomplete) {
			err = errors.Join(ipni.ErrIncomplete, err)
		}
		if err != nil {
			yield(ipni.Result{}, err)
		}
	}
}
