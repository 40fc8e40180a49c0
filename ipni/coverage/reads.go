package coverage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/multiformats/go-multihash"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// maxResults is how many results of one lookup are read. A multihash may have very many.
const maxResults = 1 << 16

// Reads compares what two indexes find. Counts are of multihashes unless they say otherwise.
type Reads struct {
	Asked  int `json:"asked"`  // that both answered
	Failed int `json:"failed"` // that one of them did not answer; they are in no other count
	Ours   int `json:"ours"`   // found here
	Theirs int `json:"theirs"` // found there
	Both   int `json:"both"`   // found in both

	Coverage       float64 `json:"coverage"`         // Both of Theirs; 1 if there are none
	Reverse        float64 `json:"reverse_coverage"` // Both of Ours; 1 if there are none
	NotFoundOurs   float64 `json:"not_found_ours"`   // share of Asked; 0 if there are none
	NotFoundTheirs float64 `json:"not_found_theirs"` // the same

	// Pairs of a multihash and a provider of it.
	Results        int     `json:"results"`         // found there
	ResultsBoth    int     `json:"results_both"`    // of them, those found here
	ResultCoverage float64 `json:"result_coverage"` // ResultsBoth of Results; 1 if there are none

	Missing  []string `json:"missing,omitempty"`  // found there alone, in base 58: some of them
	Failures []string `json:"failures,omitempty"` // why there was no answer: some of them
}

// maxFailures is how many causes are told.
const maxFailures = 10

// Add adds the counts of another comparison, and as many of its examples as fit into limit.
func (r *Reads) Add(o Reads, limit int) {
	r.Asked += o.Asked
	r.Failed += o.Failed
	r.Ours += o.Ours
	r.Theirs += o.Theirs
	r.Both += o.Both
	r.Results += o.Results
	r.ResultsBoth += o.ResultsBoth
	r.Missing = append(r.Missing, o.Missing[:min(len(o.Missing), max(limit-len(r.Missing), 0))]...)
	r.Failures = append(r.Failures, o.Failures[:min(len(o.Failures), max(maxFailures-len(r.Failures), 0))]...)
	r.shares()
}

func (r *Reads) shares() {
	r.Coverage, r.Reverse, r.ResultCoverage = share(r.Both, r.Theirs), share(r.Both, r.Ours), share(r.ResultsBoth, r.Results)
	if r.Asked > 0 {
		r.NotFoundOurs, r.NotFoundTheirs = share(r.Asked-r.Ours, r.Asked), share(r.Asked-r.Theirs, r.Asked)
	}
}

// CompareReads looks multihashes up in two indexes. A multihash that comes twice counts twice, as
// it does in traffic.
func CompareReads(ctx context.Context, ours, theirs ipni.Finder, mhs iter.Seq2[multihash.Multihash, error], o *Options) (Reads, error) {
	return each(ctx, mhs, o, func(mh multihash.Multihash) question {
		return question{mh.B58String(), func(ctx context.Context) (map[string]bool, error) { return providers(ctx, ours, mh) },
			func(ctx context.Context) (map[string]bool, error) { return providers(ctx, theirs, mh) }}
	})
}

// CompareSealed looks second hashes up in two indexes, as [CompareReads] does with multihashes. The
// results that it counts are encrypted value keys, which are the same in all indexes.
func CompareSealed(ctx context.Context, ours, theirs ipni.SealedReader, keys iter.Seq2[dhash.Key, error], o *Options) (Reads, error) {
	return each(ctx, keys, o, func(key dhash.Key) question {
		return question{key.Multihash().B58String(), func(ctx context.Context) (map[string]bool, error) { return valueKeys(ctx, ours, key) },
			func(ctx context.Context) (map[string]bool, error) { return valueKeys(ctx, theirs, key) }}
	})
}

// question is something to look up, with its name in base 58.
type question struct {
	name         string
	ours, theirs func(context.Context) (map[string]bool, error)
}

// each looks up what seq yields.
func each[T any](ctx context.Context, seq iter.Seq2[T, error], o *Options, ask func(T) question) (Reads, error) {
	opts := o.defaults()
	limit := rate.Inf
	if opts.Rate > 0 {
		limit = rate.Limit(opts.Rate)
	}
	var (
		r      Reads
		mu     sync.Mutex
		work   errgroup.Group // no lookup is an error
		pace   = rate.NewLimiter(limit, 1)
		failed error
	)
	work.SetLimit(opts.Concurrency)
	for v, err := range seq {
		if err == nil {
			err = pace.Wait(ctx)
		}
		if failed = err; err != nil {
			break
		}
		work.Go(func() error {
			one := compare(ctx, ask(v), opts)
			if ctx.Err() != nil {
				return nil // that it was cut off says nothing of an index
			}
			mu.Lock()
			defer mu.Unlock()
			r.Add(one, opts.Examples)
			return nil
		})
	}
	_ = work.Wait()
	r.shares()
	if failed == nil {
		failed = context.Cause(ctx)
	}
	if failed != nil {
		return r, fmt.Errorf("coverage: compare lookups: %w", failed)
	}
	return r, nil
}

// compare looks one thing up in both.
func compare(ctx context.Context, q question, o Options) Reads {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	var (
		work                  errgroup.Group
		here, there           map[string]bool
		failedHere, failedOut error
	)
	work.Go(func() error {
		here, failedHere = q.ours(ctx)
		return nil
	})
	there, failedOut = q.theirs(ctx)
	_ = work.Wait()
	if failedHere != nil {
		failedHere = fmt.Errorf("here: %w", failedHere)
	}
	if failedOut != nil {
		failedOut = fmt.Errorf("there: %w", failedOut)
	}
	if err := errors.Join(failedHere, failedOut); err != nil {
		return Reads{Failed: 1, Failures: []string{err.Error()}}
	}
	r := Reads{Asked: 1, Results: len(there)}
	if len(here) > 0 {
		r.Ours = 1
	}
	if len(there) > 0 {
		r.Theirs = 1
	}
	r.Both = r.Ours * r.Theirs
	for id := range there {
		if here[id] {
			r.ResultsBoth++
		}
	}
	if r.Theirs > r.Ours {
		r.Missing = []string{q.name}
	}
	return r
}

// providers returns the bytes of the ids of those who an index says to have mh.
func providers(ctx context.Context, f ipni.Finder, mh multihash.Multihash) (map[string]bool, error) {
	return gather(f.Find(ctx, mh), mh, func(r ipni.Result) string { return string(r.Provider.ID) })
}

// valueKeys returns the encrypted value keys that an index has.
func valueKeys(ctx context.Context, r ipni.SealedReader, key dhash.Key) (map[string]bool, error) {
	return gather(r.ValueKeys(ctx, key), key.Multihash(), func(v []byte) string { return string(v) })
}

func gather[T any](seq iter.Seq2[T, error], mh multihash.Multihash, identity func(T) string) (map[string]bool, error) {
	found, n := map[string]bool{}, 0
	for r, err := range seq {
		if errors.Is(err, ipni.ErrIncomplete) && len(found) > 0 {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		found[identity(r)] = true
		if n++; n >= maxResults {
			return nil, fmt.Errorf("more than %d results for %s", maxResults, mh.B58String())
		}
	}
	return found, nil
}
