// Package coverage compares an index with another one: whether it could take its place.
// It measures what operators look at before they switch:
//
//   - provider coverage: the share of the other's providers that are known here
//   - distance: how many advertisements this index is behind the other, by provider
//   - read coverage: of the multihashes that are found there, the share found here, and
//     the other way round; best of what live traffic asks for
//   - not-found rate: the share of the multihashes that an index does not find
//
// # Errors
//
// A lookup that fails says nothing about coverage: it is counted and left out. Errors of a
// list of providers and of the input end a comparison.
//
// Functions are safe for concurrent use. Memory grows with the number of providers, not with
// that of multihashes.
package coverage

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
)

// Directory tells which providers an index knows.
type Directory interface {
	Providers(ctx context.Context) iter.Seq2[*model.ProviderInfo, error]
}

// Options set up a comparison. Nil means defaults.
type Options struct {
	Concurrency int           // lookups or distances at the same time; default 16
	Rate        float64       // lookups a second in each index; default 100, negative means no limit
	Timeout     time.Duration // of a lookup or a distance; default 15 s
	Examples    int           // that a report has at most of what is missing or behind; default 100
	// Distance tells how many advertisements ours is behind theirs in the chain of a publisher,
	// less than 0 if it is ahead; see [Walk]. Default: it is not known.
	Distance func(ctx context.Context, publisher peer.AddrInfo, ours, theirs cid.Cid) (int, error)
}

func (o *Options) defaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Concurrency <= 0 {
		d.Concurrency = 16
	}
	if d.Rate == 0 {
		d.Rate = 100
	}
	if d.Timeout <= 0 {
		d.Timeout = 15 * time.Second
	}
	if d.Examples == 0 {
		d.Examples = 100
	}
	return d
}

// Providers compares what two indexes know of providers. Counts are of providers.
type Providers struct {
	Ours     int     `json:"ours"`     // known here
	Theirs   int     `json:"theirs"`   // known there
	Both     int     `json:"both"`     // known to both
	Coverage float64 `json:"coverage"` // Both of Theirs; 1 if there are none

	// Those known to both, by the last advertisement that was processed.
	Same    int    `json:"same"`    // it is the same
	Behind  int    `json:"behind"`  // ours is older
	Ahead   int    `json:"ahead"`   // ours is newer
	Unclear int    `json:"unclear"` // they differ, and by how much is not known
	Ads     uint64 `json:"ads"`     // that ours are behind, in all
	MaxAds  uint64 `json:"max_ads"` // that one is behind at most

	Missing []peer.ID  `json:"missing,omitempty"` // known there alone: the first ones in the order of their text
	Worst   []Distance `json:"worst,omitempty"`   // behind by most, those that are unclear last
}

// Distance is how far an index is behind the other.
type Distance struct {
	Provider peer.ID `json:"provider"`
	Ours     cid.Cid `json:"ours"` // the last advertisement that was processed here, or null
	Theirs   cid.Cid `json:"theirs"`
	Ads      int     `json:"ads,omitempty"`   // behind
	Cause    string  `json:"cause,omitempty"` // why that is not known
}

// share returns part of all, 1 of nothing.
func share(part, all int) float64 {
	if all == 0 {
		return 1
	}
	return float64(part) / float64(all)
}

// CompareProviders compares the providers that two indexes know.
func CompareProviders(ctx context.Context, ours, theirs Directory, o *Options) (Providers, error) {
	opts := o.defaults()
	here, err := read(ctx, ours)
	if err != nil {
		return Providers{}, fmt.Errorf("coverage: providers known here: %w", err)
	}
	there, err := read(ctx, theirs)
	if err != nil {
		return Providers{}, fmt.Errorf("coverage: providers known there: %w", err)
	}
	p := Providers{Ours: len(here), Theirs: len(there)}
	var differ []*model.ProviderInfo
	for id, info := range there {
		own, ok := here[id]
		switch {
		case !ok:
			p.Missing = append(p.Missing, id)
			continue
		case own.LastAdvertisement == info.LastAdvertisement:
			p.Same++
		default:
			differ = append(differ, info)
		}
		p.Both++
	}
	p.Coverage = share(p.Both, p.Theirs)
	slices.SortFunc(p.Missing, func(a, b peer.ID) int { return cmp.Compare(a.String(), b.String()) })
	p.Missing = p.Missing[:min(len(p.Missing), max(opts.Examples, 0))]
	distances, err := measure(ctx, here, differ, opts)
	if err != nil {
		return p, fmt.Errorf("coverage: %w", err)
	}
	p.count(distances, opts)
	return p, nil
}

// read returns what an index knows by provider. One that is told twice counts once.
func read(ctx context.Context, d Directory) (map[peer.ID]*model.ProviderInfo, error) {
	all := map[peer.ID]*model.ProviderInfo{}
	for info, err := range d.Providers(ctx) {
		if err != nil {
			return nil, err
		}
		all[info.AddrInfo.ID] = info
	}
	return all, nil
}

// measure returns the distances of those whose last advertisements differ.
func measure(ctx context.Context, here map[peer.ID]*model.ProviderInfo, differ []*model.ProviderInfo, o Options) ([]Distance, error) {
	all := make([]Distance, len(differ))
	var work errgroup.Group // no distance is an error
	work.SetLimit(o.Concurrency)
	for i, info := range differ {
		own := here[info.AddrInfo.ID]
		all[i] = Distance{Provider: info.AddrInfo.ID, Ours: own.LastAdvertisement, Theirs: info.LastAdvertisement}
		if !info.LastAdvertisement.Defined() {
			all[i].Cause = "the other index tells no advertisement"
			continue
		}
		publisher := info.Publisher
		if publisher == nil {
			publisher = own.Publisher
		}
		switch {
		case o.Distance == nil:
			all[i].Cause = "it was not asked for"
			continue
		case publisher == nil:
			all[i].Cause = "the publisher is not known"
			continue
		}
		work.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, o.Timeout)
			defer cancel()
			n, err := o.Distance(ctx, *publisher, all[i].Ours, all[i].Theirs)
			if all[i].Ads = n; err != nil {
				all[i].Ads, all[i].Cause = 0, err.Error()
			}
			return nil
		})
	}
	_ = work.Wait()
	return all, context.Cause(ctx)
}

// count sums distances up, and keeps the worst.
func (p *Providers) count(all []Distance, o Options) {
	var late []Distance
	for _, d := range all {
		switch {
		case d.Cause != "":
			p.Unclear++
		case d.Ads <= 0:
			p.Ahead++
			continue
		default:
			p.Behind++
			p.Ads += uint64(d.Ads)
			p.MaxAds = max(p.MaxAds, uint64(d.Ads))
		}
		late = append(late, d)
	}
	slices.SortFunc(late, func(a, b Distance) int {
		return cmp.Or(cmp.Compare(b.Ads, a.Ads), cmp.Compare(a.Provider.String(), b.Provider.String()))
	})
	p.Worst = late[:min(len(late), max(o.Examples, 0))]
}
