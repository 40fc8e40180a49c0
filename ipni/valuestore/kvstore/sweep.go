package kvstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

const (
	defaultEvery = 10 * time.Minute
	defaultRate  = 50_000
)

// SweepOptions set up [Store.Run]. Nil or a zero field means the default.
type SweepOptions struct {
	Every  time.Duration // from the end of a pass to the next one, if something is removed by then; default 10 min
	Rate   int           // rows that a pass reads in a second; default 50,000, negative means no limit
	Logger *slog.Logger  // passes that failed, which are begun again after Every; default none
}

// Run sweeps what was removed, now and then, until ctx ends, and returns its cause. Stores that share the keys may
// all run: what two of them sweep at once is gone once.
//
// A pass reads all rows, at the rate of o, if a tag is removed. A tag is forgotten by the first pass
// that finds none of its rows. So it is known for a whole pass after its last row went, in case that a
// write of it, whose end its writer did not see, came to be after all.
func (s *Store) Run(ctx context.Context, o *SweepOptions) error {
	if o == nil {
		o = &SweepOptions{}
	}
	every := o.Every
	if every <= 0 {
		every = defaultEvery
	}
	wait := time.NewTimer(every)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wait.C:
		}
		if _, err := s.pass(ctx, limiter(o.Rate)); err != nil && ctx.Err() == nil && o.Logger != nil {
			o.Logger.LogAttrs(ctx, slog.LevelWarn, "sweep failed", slog.Any("error", err))
		}
		wait.Reset(every)
	}
}

func limiter(rows int) *rate.Limiter {
	switch {
	case rows == 0:
		rows = defaultRate
	case rows < 0:
		return rate.NewLimiter(rate.Inf, batchSize)
	}
	l := rate.NewLimiter(rate.Limit(rows), batchSize)
	l.AllowN(time.Now(), batchSize) // the first piece counts too
	return l
}

// Sweep deletes the rows of tags that are removed, and then forgets the tags. It reads all rows twice.
func (s *Store) Sweep(ctx context.Context) error {
	for {
		found, err := s.pass(ctx, limiter(-1))
		if err != nil || found == 0 {
			return err
		}
	}
}

// pass deletes the rows of tags that were removed before it, and forgets those that had none. It returns
// how many rows it found.
func (s *Store) pass(ctx context.Context, pace *rate.Limiter) (found int, err error) {
	if found, err = s.sweep(ctx, pace); err != nil {
		return found, fmt.Errorf("kvstore: sweep: %w", err)
	}
	return found, nil
}

func (s *Store) sweep(ctx context.Context, pace *rate.Limiter) (found int, err error) {
	removed, err := s.removed(ctx)
	if err != nil || len(removed) == 0 {
		return 0, err
	}
	had := tags{}
	for rows := kv.Prefix([]byte{recordPrefix}); rows.From != nil; {
		var n int
		if n, rows.From, err = s.piece(ctx, rows, removed, had); err != nil {
			return found, err
		}
		found += n
		if err := pace.WaitN(ctx, batchSize); err != nil {
			return found, err
		}
	}
	var clean []valuestore.Tag
	for tag := range removed {
		if _, some := had[tag]; !some {
			clean = append(clean, tag)
		}
	}
	return found, s.mark(ctx, clean, func(tag valuestore.Tag) kv.Op { return kv.Delete(removedRow(tag)) })
}

// piece deletes the rows of tags that are removed among the first ones of rows, and returns their number and
// where to go on, nil at the end. No scan is held for longer than that.
func (s *Store) piece(ctx context.Context, rows kv.Range, removed, had tags) (found int, next []byte, err error) {
	b := batch{ctx: ctx, kv: s.kv}
	seen := 0
	for p, err := range s.kv.Scan(ctx, rows) {
		if err != nil {
			return found, nil, err
		}
		// Of a row that is malformed nothing but the tag must be right: reads report it.
		if tag := tagOf(p.Key); tag != 0 {
			if _, gone := removed[tag]; gone {
				had[tag] = struct{}{}
				found++
				b.ops = append(b.ops, kv.Delete(p.Key))
			}
		}
		if seen++; seen == batchSize {
			next = append(p.Key, 0)
			break
		}
	}
	return found, next, b.flush()
}

// tagOf returns the tag of a row, or 0 if it is too short.
func tagOf(row []byte) valuestore.Tag {
	if len(row) < leastRow {
		return 0
	}
	return valuestore.Tag(binary.BigEndian.Uint64(row[len(row)-tagSize:]))
}
