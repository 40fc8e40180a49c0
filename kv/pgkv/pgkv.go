// Package pgkv keeps ordered keys in one table of a database that speaks the
// PostgreSQL protocol (https://www.postgresql.org/docs/current/protocol.html):
// PostgreSQL itself, or what is compatible with it. Nodes that share the table share
// all that they know.
//
// [Open] creates the table if it is absent, however many nodes start at once:
//
//	CREATE TABLE IF NOT EXISTS hashstream_kv (key bytea PRIMARY KEY, value bytea NOT NULL)
//
// YugabyteDB gets PRIMARY KEY (key ASC), because it would hash the keys otherwise. The
// user needs SELECT, INSERT, UPDATE and DELETE on the table, and CREATE on its schema
// (or on the database, for a schema that is absent) unless somebody has created it.
// Only plain tables, transactions, INSERT … ON CONFLICT, arrays and window functions are used. The tests
// run against PostgreSQL 15 and not against others.
//
// A record of an index, with a key of 70 bytes and a value of 10, takes about 240 bytes
// of disk: half is the table and half the index, which repeats the key. The index is not made to
// cover the values, because PostgreSQL limits its entries to 2,704 bytes. A value
// that is replaced by one of its size stays on its page if the table is created with a
// fillfactor of 90, say; an index hardly ever replaces any, and so the default is to fill pages.
//
// # Consistency
//
// Every call is right under any isolation level that the server has as its default. A
// scan of up to 256 pairs and 1 MiB is one query in one round trip and holds nothing while its pairs
// are yielded. A longer one starts anew in a read-only transaction of level REPEATABLE
// READ, which holds one connection and a snapshot of the server until it ends; at most half of the
// connections do so at a time, so that other calls always get one.
//
// # Restarts
//
// A call that finds the server away, restarting or too busy is repeated for
// [Options.RetryFor], and then fails with [ErrUnavailable]. If the connection breaks when the
// server may have done what it was told,
//
//   - Get, and Scan before its first pair, ask again. A scan that has yielded a pair
//     fails, because its snapshot is gone.
//   - Batch is applied again. Its result is the same, but it may overwrite what
//     somebody else wrote to the same keys in between.
//   - Update compares and swaps again. If the key holds neither the old value nor one that f
//     leaves as it is, it fails with [ErrUnknown]: it was applied once or not at all.
//
// # Poolers
//
// Statements are prepared by name and planned once for each connection, with settings that
// make the server use the index always. PgBouncer with pool_mode=transaction
// needs default_query_exec_mode=cache_describe in the URL: then nothing outlasts a transaction,
// every statement is planned anew, and a short scan costs the server two to three times the work.
//
// # Errors
//
// As package kv says, and [ErrUnavailable] and [ErrUnknown]. No error has a user, a password or a
// query of the URL in it, nor wraps one of the driver's, which have.
//
// What Batch and Update wrote is durable as far as the server's synchronous_commit and
// fsync say. A Store is safe for concurrent use.
package pgkv

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hashstream/hashstream/kv"
)

var (
	// ErrUnavailable reports a server that did not do its work for [Options.RetryFor].
	ErrUnavailable = errors.New("the database is not available")
	// ErrUnknown reports an update that broke off and may have been applied.
	ErrUnknown = errors.New("the connection broke, and whether the update was applied is unknown")
)

const (
	defaultConns    = 8
	defaultRetryFor = 10 * time.Second
	connectTimeout  = 5 * time.Second
)

// Options tunes a [Store].
type Options struct {
	// Conns is the most connections at a time, at least 2. Default pool_max_conns of the URL, or
	// else 8. All nodes together must stay below max_connections of the server, which is
	// 100 unless somebody raised it.
	Conns int
	// RetryFor is how long a call is repeated while the server is away. Default 10 s,
	// negative not at all.
	RetryFor time.Duration
	// Logger gets a warning for each call that must be repeated. Default: silent.
	Logger *slog.Logger
}

// Store keeps pairs in a table.
type Store struct {
	pool     *pgxpool.Pool
	sql      statements
	secrets  secrets
	retryFor time.Duration
	logger   *slog.Logger
	scans    chan struct{} // a slot for each long scan
	stripes  [64]chan struct{}
	seed     maphash.Seed
}

var _ kv.Store = (*Store)(nil)

// Open connects to the database of url and creates the table if it is absent. The URL is
//
//	postgres://user:password@host:port/database?sslmode=verify-full&table=name
//
// where table is [schema.]name, by default hashstream_kv in the first schema of the
// server's search_path. The other parameters are those of
// https://www.postgresql.org/docs/current/libpq-connect.html and of pgxpool
// (pool_max_conns, …). What the URL leaves out comes from the PG* variables of
// the environment and from ~/.pgpass, as with every client of PostgreSQL.
func Open(ctx context.Context, url string, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	t, err := parse(url)
	if err != nil {
		return nil, fmt.Errorf("pgkv: open: %w", err)
	}
	if o.Conns > 0 {
		t.config.MaxConns = int32(min(o.Conns, 1<<16))
	}
	t.config.MaxConns = max(2, t.config.MaxConns) // one for calls while a long scan holds the other
	s := newStore(t, o)
	if s.pool, err = pgxpool.NewWithConfig(ctx, t.config); err != nil {
		return nil, fmt.Errorf("pgkv: open %s: %w", t.name, s.clean(ctx, err))
	}
	if err := s.create(ctx, t.table); err != nil {
		s.pool.Close()
		if errors.Is(err, ErrUnavailable) {
			err = fmt.Errorf("%w; is this the address of a running server?", err)
		}
		return nil, fmt.Errorf("pgkv: open %s: %w", t.name, err)
	}
	return s, nil
}

func newStore(t *target, o *Options) *Store {
	s := &Store{
		sql:      newStatements(t.table.Sanitize()),
		secrets:  t.secrets,
		retryFor: o.RetryFor,
		logger:   o.Logger,
		scans:    make(chan struct{}, max(1, t.config.MaxConns/2)),
		seed:     maphash.MakeSeed(),
	}
	if s.retryFor == 0 {
		s.retryFor = defaultRetryFor
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	for i := range s.stripes {
		s.stripes[i] = make(chan struct{}, 1)
	}
	return s
}

// Close waits for the calls and scans that are under way, and closes the connections.
// All other calls fail from then on.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// errAbsent does not name its key, as nobody reads it: most keys are asked for to be
// sure that they are not there.
var errAbsent = fmt.Errorf("pgkv: get: %w", fs.ErrNotExist)

// Get returns the value of key.
func (s *Store) Get(ctx context.Context, key []byte) ([]byte, error) {
	v, err := s.get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("pgkv: get %s: %w", short(key), err)
	}
	if v == nil {
		return nil, errAbsent
	}
	return v, nil
}

// get returns the value of key, nil if there is none.
func (s *Store) get(ctx context.Context, key []byte) (value []byte, err error) {
	err = s.retry(ctx, "get", func() error {
		err := s.pool.QueryRow(ctx, s.sql.get, notNil(key)).Scan(&value)
		if errors.Is(err, pgx.ErrNoRows) {
			value, err = nil, nil
		}
		return err
	})
	return value, err
}

// notNil returns b, as an empty slice if it is nil, which would be NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// short prints a key on part of a line.
func short(key []byte) string {
	const most = 48
	if len(key) > most {
		return fmt.Sprintf("%x… (%d bytes)", key[:most], len(key))
	}
	return fmt.Sprintf("%x", key)
}
