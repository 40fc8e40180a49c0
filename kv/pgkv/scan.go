package pgkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hashstream/hashstream/kv"
)

const (
	firstRows  = 257       // pairs of a query that serves a short scan, and one to see that there are more
	firstBytes = 1 << 20   // bytes of values of one
	pageRows   = 1000      // pairs of a query that continues a long scan
	pageBytes  = 1_000_000 // the values of a page, but for its last, are smaller together
)

// errLong reports that a scan has more than fits into one query.
var errLong = errors.New("the scan is long")

// Scan yields the pairs of r.
func (s *Store) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		pairs, err := s.short(ctx, r)
		if err == nil {
			_, err = yieldAll(ctx, pairs, yield)
		} else if errors.Is(err, errLong) {
			err = s.long(ctx, r, yield)
		}
		if err != nil {
			yield(kv.Pair{}, fmt.Errorf("pgkv: scan from %s: %w", short(r.From), err))
		}
	}
}

// yieldAll reports whether to go on.
func yieldAll(ctx context.Context, pairs []kv.Pair, yield func(kv.Pair, error) bool) (bool, error) {
	for _, p := range pairs {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if !yield(p, nil) {
			return false, nil
		}
	}
	return true, nil
}

// short returns all pairs of r, or errLong if they are many or large.
func (s *Store) short(ctx context.Context, r kv.Range) (pairs []kv.Pair, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if r.To != nil && bytes.Compare(r.From, r.To) >= 0 {
		return nil, nil
	}
	long := false
	err = s.retry(ctx, "scan", func() error {
		var err error
		pairs, long, err = s.readShort(ctx, r)
		return err
	})
	if err == nil && long {
		return nil, errLong
	}
	return pairs, err
}

func (s *Store) readShort(ctx context.Context, r kv.Range) (pairs []kv.Pair, long bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, pick(r, s.sql.scan, s.sql.scanAll), bounds(r)...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for size := 0; rows.Next(); {
		if size > firstBytes {
			cancel() // rather lose the connection than read the rest, which may be large
			return nil, true, nil
		}
		var p kv.Pair
		if err := rows.Scan(&p.Key, &p.Value); err != nil {
			return nil, false, err
		}
		pairs = append(pairs, p)
		size += len(p.Value)
	}
	return pairs, len(pairs) == firstRows, rows.Err()
}

// pick returns the statement for a range with an end or for one without.
func pick(r kv.Range, fromTo, from string) string {
	if r.To == nil {
		return from
	}
	return fromTo
}

// bounds are the arguments of a statement for r.
func bounds(r kv.Range) []any {
	if r.To == nil {
		return []any{notNil(r.From)}
	}
	return []any{notNil(r.From), r.To}
}

// long yields the pairs of r page by page in a transaction. The pages are in memory before they
// are yielded, so that the server waits between two statements and not within one.
func (s *Store) long(ctx context.Context, r kv.Range, yield func(kv.Pair, error) bool) error {
	if err := s.acquireScan(ctx); err != nil {
		return err
	}
	defer func() { <-s.scans }()
	var tx pgx.Tx
	var pairs []kv.Pair
	err := s.retry(ctx, "scan", func() (err error) {
		tx, pairs, err = s.begin(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { rollback(ctx, tx) }()
	for n := 0; len(pairs) > 0; {
		r.From = append(bytes.Clone(pairs[len(pairs)-1].Key), 0) // before the pair is the caller's
		n += len(pairs)
		if more, err := yieldAll(ctx, pairs, yield); !more {
			return err
		}
		if pairs, err = s.page(ctx, tx, r); err != nil {
			return fmt.Errorf("after %d pairs: %w", n, s.clean(ctx, err))
		}
	}
	return nil
}

// acquireScan waits for a slot. It does not wait forever: scans within scans could wait for
// one another.
func (s *Store) acquireScan(ctx context.Context) error {
	late := time.NewTimer(max(s.retryFor, connectTimeout))
	defer late.Stop()
	select {
	case s.scans <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-late.C:
		return fmt.Errorf("%w: %d long scans are under way, which is half of the connections", ErrUnavailable, cap(s.scans))
	}
}

// begin begins a transaction, whose snapshot is that of the first page.
func (s *Store) begin(ctx context.Context, r kv.Range) (pgx.Tx, []kv.Pair, error) {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, nil, err
	}
	pairs, err := s.page(ctx, tx, r)
	if err != nil {
		rollback(ctx, tx)
		return nil, nil, err
	}
	return tx, pairs, nil
}

// rollback also ends what was canceled. It gives the connection back, or closes it
// if that takes too long.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	tx.Rollback(ctx)
}

// page returns the first pairs of r, none at its end.
func (s *Store) page(ctx context.Context, tx pgx.Tx, r kv.Range) ([]kv.Pair, error) {
	rows, err := tx.Query(ctx, pick(r, s.sql.page, s.sql.pageAll), bounds(r)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p kv.Pair, err error) {
		return p, row.Scan(&p.Key, &p.Value)
	})
}
