package indexer

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

// foreign is the index of this node and those of others, asked together.
type foreign struct{ *scatter.Scatter }

// directory is another indexer, or this one, as one that knows providers.
type directory struct{ ipnihttp.Providers }

// All describes all providers.
func (d directory) All(ctx context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return d.Providers.Providers(ctx)
}

// Providers describes all providers.
func (f foreign) Providers(ctx context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return f.All(ctx)
}

// openForeign puts the indexers that the configuration names beside the own index, own.
func (s *Service) openForeign(own ipnihttp.Index) (ipnihttp.Index, error) {
	c := s.config.Find
	if len(c.Indexers)+len(c.Cascade) == 0 {
		return own, nil
	}
	backends := []scatter.Backend{
		{Name: "this node", Class: scatter.Plain, Finder: own.Finder},
		{Name: "this node", Class: scatter.Encrypted, Sealed: own.Sealed},
		{Name: "this node", Class: scatter.Providers, Directory: directory{own.Providers}},
	}
	for _, url := range c.Indexers {
		client, err := s.client(url)
		if err != nil {
			return own, err
		}
		backends = append(backends,
			scatter.Backend{Name: client.Name(), Class: scatter.Plain, Finder: client},
			scatter.Backend{Name: client.Name(), Class: scatter.Encrypted, Sealed: client},
			scatter.Backend{Name: client.Name(), Class: scatter.Providers, Directory: directory{client}})
	}
	for _, pair := range c.Cascade {
		label, url, _ := strings.Cut(pair, "=")
		client, err := s.client(url)
		if err != nil {
			return own, err
		}
		backends = append(backends, scatter.Backend{Name: client.Name(), Class: scatter.Cascade, Label: label, Finder: client})
	}
	s.scatter = scatter.New(nil)
	if err := s.scatter.Set(backends); err != nil {
		return own, err
	}
	all := own
	all.Finder, all.Sealed, all.Providers = s.scatter, s.scatter, foreign{s.scatter}
	return all, nil
}

func (s *Service) client(url string) (*ipnihttp.Client, error) {
	c, err := ipnihttp.NewClient(url, nil)
	if err == nil {
		s.closers = append(s.closers, c)
	}
	return c, err
}

// cascade returns who answers a lookup that names labels: all that others are asked for, and
// what stands behind the labels; nil if no label is known.
func (s *Service) cascade(labels []string) ipni.Finder {
	if s.scatter == nil {
		return nil
	}
	together := both{s.scatter}
	for _, known := range s.scatter.Labels() {
		for _, label := range labels {
			if label == known {
				together = append(together, s.scatter.Cascade(label))
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
