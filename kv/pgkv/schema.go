package pgkv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// statements are the texts of all queries.
type statements struct {
	look, get, put, remove, removeRange string
	insert, replace, removeOld          string
	scan, scanAll                       string // the first pairs of a range, of one without an end
	page, pageAll                       string // the same, up to an amount of bytes
}

// Parameters have casts for the modes of the driver that do not ask for types. Limits are
// constants, so that a plan for any arguments knows them.
func newStatements(table string) statements {
	const from, fromTo = " WHERE key >= $1::bytea", " WHERE key >= $1::bytea AND key < $2::bytea"
	scan := func(where string, limit int) string {
		return fmt.Sprintf("SELECT key, value FROM %s%s ORDER BY key LIMIT %d", table, where, limit)
	}
	page := func(where string) string { // octet_length does not read a value that is stored apart
		return fmt.Sprintf(`SELECT key, value FROM (SELECT key, value,
			sum(octet_length(value)) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING) - octet_length(value) AS before
			FROM (%s) AS rows) AS sums WHERE before < %d ORDER BY key`, scan(where, pageRows), pageBytes)
	}
	return statements{
		look: "SELECT key, value FROM " + table + " LIMIT 0",
		get:  "SELECT value FROM " + table + " WHERE key = $1::bytea",
		// What is there already is not written again.
		put: "INSERT INTO " + table + ` AS old (key, value) SELECT k, v FROM unnest($1::bytea[], $2::bytea[]) AS new (k, v)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE old.value <> excluded.value`,
		remove:      "DELETE FROM " + table + " WHERE key = ANY ($1::bytea[])",
		removeRange: "DELETE FROM " + table + fromTo,
		insert:      "INSERT INTO " + table + " (key, value) VALUES ($1::bytea, $2::bytea) ON CONFLICT (key) DO NOTHING",
		replace:     "UPDATE " + table + " SET value = $3::bytea WHERE key = $1::bytea AND value = $2::bytea",
		removeOld:   "DELETE FROM " + table + " WHERE key = $1::bytea AND value = $2::bytea",
		scan:        scan(fromTo, firstRows),
		scanAll:     scan(from, firstRows),
		page:        page(fromTo),
		pageAll:     page(from),
	}
}

// create makes sure that the table is there and fits. Nodes that do so at once get
// all sorts of errors from the server, so it looks again after each.
func (s *Store) create(ctx context.Context, table pgx.Identifier) error {
	const attempts = 20
	for n := 0; ; n++ {
		absent := false
		err := s.retry(ctx, "open", func() error {
			err := s.look(ctx)
			if absent = state(err, "42P01", "3F000"); absent { // no such table, no such schema
				return nil
			}
			return err
		})
		if err != nil || !absent {
			return err
		}
		var lost error
		err = s.retry(ctx, "create", func() error {
			lost = s.createTable(ctx, table)
			if state(lost, "23505", "42710", "42P06", "42P07", "XX000") && n < attempts { // somebody was faster
				return nil
			}
			return lost
		})
		if err != nil {
			return fmt.Errorf("create table %s: %w", table.Sanitize(), err)
		}
		if lost != nil {
			if err := sleep(ctx, backoff(n)); err != nil {
				return err
			}
		}
	}
}

// look fails if the table is absent, may not be read or is another one's.
func (s *Store) look(ctx context.Context) error {
	rows, err := s.pool.Query(ctx, s.sql.look)
	if err != nil {
		return err
	}
	defer rows.Close()
	rows.Next()
	for _, f := range rows.FieldDescriptions() {
		if f.DataTypeOID != pgtype.ByteaOID {
			return fmt.Errorf("the table is not a store's: column %s is not of type bytea", f.Name)
		}
	}
	return rows.Err()
}

func (s *Store) createTable(ctx context.Context, table pgx.Identifier) error {
	var version string
	if err := s.pool.QueryRow(ctx, "SELECT version()").Scan(&version); err != nil {
		return err
	}
	order := "" // the only one that PostgreSQL knows
	if strings.Contains(version, "-YB-") {
		order = " ASC"
	}
	create := "CREATE TABLE IF NOT EXISTS " + table.Sanitize() + " (key bytea, value bytea NOT NULL, PRIMARY KEY (key" + order + "))"
	_, err := s.pool.Exec(ctx, create)
	if len(table) == 2 && state(err, "3F000") {
		if _, err := s.pool.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+table[:1].Sanitize()); err != nil {
			return err
		}
		_, err = s.pool.Exec(ctx, create)
	}
	return err
}

// state reports whether err is one of these answers of the server.
func state(err error, codes ...string) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && slices.Contains(codes, server.Code)
}
