package pgkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hashstream/hashstream/kv"
)

const (
	statementRows  = 10_000
	statementBytes = 4 << 20  // of keys and values; CockroachDB takes messages of 16 MiB
	flightBytes    = 16 << 20 // of statements under way, which the driver keeps in memory
	mostRuns       = 64
)

// Batch applies ops in order, all or none.
func (s *Store) Batch(ctx context.Context, ops []kv.Op) error {
	if err := kv.CheckOps(ops); err != nil {
		return fmt.Errorf("pgkv: batch: %w", err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("pgkv: batch: %w", context.Cause(ctx))
	}
	calls := s.calls(ops)
	if len(calls) == 0 {
		return nil
	}
	err := s.retry(ctx, "batch", func() error { return s.apply(ctx, calls) })
	if err != nil {
		return fmt.Errorf("pgkv: batch of %d: %w", len(ops), err)
	}
	return nil
}

// call is one statement with its arguments.
type call struct {
	sql  string
	args []any
	size int
}

// calls returns statements with the effect of ops: first the ranges, then the last
// write of each key that no later range covers, in the order of the keys. That
// order is the same in all batches, so that they do not block one another.
func (s *Store) calls(ops []kv.Op) (calls []call) {
	last := make(map[string]kv.Op, len(ops))
	var deleted ranges
	for _, o := range slices.Backward(ops) {
		if o.Kind == kv.KindDeleteRange {
			deleted = deleted.add(o.Key, o.Value)
		} else if _, ok := last[string(o.Key)]; !ok && !deleted.contain(o.Key) {
			last[string(o.Key)] = o
		}
	}
	for _, r := range deleted {
		calls = append(calls, call{s.sql.removeRange, []any{notNil(r.From), r.To}, len(r.From) + len(r.To)})
	}
	sorted := slices.SortedFunc(maps.Values(last), func(a, b kv.Op) int { return bytes.Compare(a.Key, b.Key) })
	if runs(sorted) > mostRuns { // rather risk a deadlock, which the server resolves, than many statements
		slices.SortStableFunc(sorted, func(a, b kv.Op) int { return int(b.Kind) - int(a.Kind) })
	}
	for len(sorted) > 0 {
		n := runLength(sorted)
		calls = append(calls, s.call(sorted[:n]))
		sorted = sorted[n:]
	}
	return calls
}

// runs counts the stretches of one kind.
func runs(ops []kv.Op) (n int) {
	for i, o := range ops {
		if i == 0 || o.Kind != ops[i-1].Kind {
			n++
		}
	}
	return n
}

// runLength returns how many of ops go into one statement.
func runLength(ops []kv.Op) int {
	size := 0
	for i, o := range ops {
		size += len(o.Key) + len(o.Value)
		if i > 0 && (o.Kind != ops[0].Kind || i == statementRows || size > statementBytes) {
			return i
		}
	}
	return len(ops)
}

// call returns the statement for ops of one kind.
func (s *Store) call(ops []kv.Op) call {
	size := 0
	keys, values := make([][]byte, len(ops)), make([][]byte, len(ops))
	for i, o := range ops {
		keys[i], values[i] = o.Key, notNil(o.Value)
		size += len(o.Key) + len(o.Value)
	}
	if ops[0].Kind == kv.KindDelete {
		return call{s.sql.remove, []any{keys}, size}
	}
	return call{s.sql.put, []any{keys, values}, size}
}

// apply runs calls in one transaction, and in one round trip if they are not large.
func (s *Store) apply(ctx context.Context, calls []call) error {
	if len(calls) == 1 {
		_, err := s.pool.Exec(ctx, calls[0].sql, calls[0].args...)
		return err
	}
	return s.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		err := transact(ctx, conn, calls)
		if err != nil && !conn.Conn().IsClosed() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
			defer cancel()
			conn.Exec(ctx, "ROLLBACK") // without it, the pool closes the connection
		}
		return err
	})
}

func transact(ctx context.Context, conn *pgxpool.Conn, calls []call) error {
	flight := &pgx.Batch{}
	flight.Queue("BEGIN")
	size := 0
	for _, c := range calls {
		if size += c.size; size > flightBytes {
			if err := conn.SendBatch(ctx, flight).Close(); err != nil {
				return err
			}
			flight, size = &pgx.Batch{}, c.size
		}
		flight.Queue(c.sql, c.args...)
	}
	commit := ""
	flight.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error { commit = tag.String(); return nil })
	if err := conn.SendBatch(ctx, flight).Close(); err != nil {
		return err
	}
	if commit != "COMMIT" { // the server's way to say that the transaction had failed
		return errors.New("the transaction was rolled back")
	}
	return nil
}

// ranges are sorted and apart from each other.
type ranges []kv.Range

// add returns s with the keys from from up to, not including, to.
func (s ranges) add(from, to []byte) ranges {
	if bytes.Compare(from, to) >= 0 {
		return s
	}
	i, _ := slices.BinarySearchFunc(s, from, func(r kv.Range, k []byte) int { return bytes.Compare(r.To, k) })
	j := i
	for ; j < len(s) && bytes.Compare(s[j].From, to) <= 0; j++ {
		from = slices.MinFunc([][]byte{from, s[j].From}, bytes.Compare)
		to = slices.MaxFunc([][]byte{to, s[j].To}, bytes.Compare)
	}
	return slices.Replace(s, i, j, kv.Range{From: from, To: to})
}

func (s ranges) contain(key []byte) bool {
	i, exact := slices.BinarySearchFunc(s, key, func(r kv.Range, k []byte) int { return bytes.Compare(r.To, k) })
	if exact { // the end of s[i] is not in it
		i++
	}
	return i < len(s) && bytes.Compare(s[i].From, key) <= 0
}
