package pgkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// calls returns statements with the effect of ops: the ranges, and the last write of
// each key that no later range covers, in the order of the keys.
//
// As they lock rows in that order, batches do not wait for each other in a circle. The
// few circles that are left, about keys that appear within a range while it is deleted,
// are broken by the server, and the batch is repeated.
func (s *Store) calls(ops []kv.Op) (calls []call) {
	deleted, writes := last(ops)
	for _, r := range deleted {
		n, _ := slices.BinarySearchFunc(writes, r.From, func(o kv.Op, k []byte) int { return bytes.Compare(o.Key, k) })
		calls = s.appendWrites(calls, writes[:n])
		calls = append(calls, call{s.sql.removeRange, []any{notNil(r.From), r.To}, len(r.From) + len(r.To)})
		writes = writes[n:]
	}
	return s.appendWrites(calls, writes)
}

// last returns what is left of ops if those are dropped that later ones override. It is sorted.
func last(ops []kv.Op) (deleted ranges, writes []kv.Op) {
	seen := make(map[string]struct{}, len(ops))
	for _, o := range slices.Backward(ops) {
		if o.Kind == kv.KindDeleteRange {
			deleted = deleted.add(o.Key, o.Value)
			continue
		}
		if _, ok := seen[string(o.Key)]; ok || deleted.contain(o.Key) {
			continue
		}
		seen[string(o.Key)] = struct{}{}
		if o.Kind == kv.KindDelete {
			o.Value = nil
		}
		writes = append(writes, o)
	}
	slices.SortFunc(writes, func(a, b kv.Op) int { return bytes.Compare(a.Key, b.Key) })
	return deleted, writes
}

// appendWrites appends statements for puts and deletes. If there are both, the deletes are
// puts at first, of an empty value: no other statement locks in one order keys that are there
// and keys that are not.
func (s *Store) appendWrites(calls []call, ops []kv.Op) []call {
	deletes := slices.DeleteFunc(slices.Clone(ops), func(o kv.Op) bool { return o.Kind != kv.KindDelete })
	if len(deletes) < len(ops) {
		calls = appendCalls(calls, s.sql.put, ops, true)
	}
	return appendCalls(calls, s.sql.remove, deletes, false)
}

// appendCalls appends as many statements as ops need, with an array of their keys and,
// if values, one of their values.
func appendCalls(calls []call, sql string, ops []kv.Op, values bool) []call {
	for len(ops) > 0 {
		n := fit(ops, values)
		c := call{sql: sql}
		ks, vs := make([][]byte, n), make([][]byte, n)
		for i, o := range ops[:n] {
			ks[i], vs[i] = o.Key, notNil(o.Value)
			c.size += size(o, values)
		}
		if c.args = []any{ks}; values {
			c.args = append(c.args, vs)
		}
		calls, ops = append(calls, c), ops[n:]
	}
	return calls
}

// fit returns how many of ops go into one statement, at least one.
func fit(ops []kv.Op, values bool) int {
	total := 0
	for i, o := range ops {
		if total += size(o, values); i > 0 && (i == statementRows || total > statementBytes) {
			return i
		}
	}
	return len(ops)
}

func size(o kv.Op, value bool) int {
	if value {
		return len(o.Key) + len(o.Value)
	}
	return len(o.Key)
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
	total := 0
	for _, c := range calls {
		if total += c.size; total > flightBytes {
			if err := conn.SendBatch(ctx, flight).Close(); err != nil {
				return err
			}
			flight, total = &pgx.Batch{}, c.size
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
