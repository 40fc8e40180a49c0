package indexer

import (
	"context"
	"time"

	"github.com/hashstream/hashstream/internal/indexer/foreign"
	"github.com/hashstream/hashstream/internal/indexer/watch"
	"github.com/hashstream/hashstream/internal/obs/ipniobs"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// compareTimeout is how long the index that this one is compared with may be silent.
const compareTimeout = 10 * time.Second

// openForeign puts the indexers that the configuration names beside the own index.
func (s *Service) openForeign() error {
	c := s.config.Find
	if len(c.Indexers)+len(c.Cascade) == 0 {
		return nil
	}
	var err error
	if s.foreign, err = foreign.Open(s.served, c.Indexers, c.Cascade); err != nil {
		return err
	}
	s.served, s.closers = s.foreign.Index, append(s.closers, s.foreign)
	return nil
}

// breakers returns the states of all breakers: of other indexers, and of the nodes of this one.
func (s *Service) breakers() []ipniobs.Breaker {
	var all []ipniobs.Breaker
	if s.foreign != nil {
		for _, b := range s.foreign.Breakers() {
			all = append(all, ipniobs.Breaker{Kind: "indexer", Name: b.Name, State: b.Breaker})
		}
	}
	for _, p := range s.shard.Peers() {
		all = append(all, ipniobs.Breaker{Kind: "member", Name: p.ID, State: p.Breaker})
	}
	return all
}

// openWatch compares the own index, without those of others, with the one that the configuration names.
func (s *Service) openWatch() error {
	c := s.config.Find
	if c.Compare == "" {
		return nil
	}
	other, err := ipnihttp.NewClient(c.Compare, &ipnihttp.ClientOptions{CallerOptions: wire.CallerOptions{Timeout: compareTimeout, Retries: -1}})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, other)
	s.watcher = watch.New(watch.Options{
		Name: other.Name(),
		Ours: watch.Index{Finder: s.finder, Sealed: s.index, Providers: s.view()}, Theirs: watch.Index{Finder: other, Sealed: other, Providers: other},
		Share: c.CompareShare, Interval: c.CompareInterval.Std(), Open: s.chains.open, Gauges: s.node.Metrics, Log: s.log,
	})
	s.served.Finder, s.served.Sealed = s.watcher.Finder(s.served.Finder), s.watcher.Sealed(s.served.Sealed)
	return nil
}

func (s *Service) runWatch(ctx context.Context) error {
	if s.watcher == nil {
		return nil
	}
	return s.watcher.Run(ctx)
}
