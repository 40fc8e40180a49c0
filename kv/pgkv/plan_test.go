package pgkv_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/kv"
)

// A plan that was made when the table was tiny must not read all of it when it has grown.
func TestPlans(t *testing.T) {
	address := own(t)
	table := parameter(t, address, "table")
	s := open(t, address, nil)
	use := func(n uint64) {
		for range 10 {
			if err := s.Batch(t.Context(), append(records(0, 5), kv.Delete(record(n).Key), kv.DeleteRange(kv.Prefix(record(n+1).Key)))); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), record(1).Key); err != nil {
				t.Fatal(err)
			}
			if n := count(t, s, kv.Prefix(record(1).Key[:38])); n != 1 {
				t.Errorf("%d pairs", n)
			}
			if n := count(t, s, kv.Range{From: record(1).Key}); n == 0 {
				t.Error("no pairs")
			}
			if err := s.Update(t.Context(), record(2).Key, increment); err != nil {
				t.Fatal(err)
			}
		}
	}
	use(10)
	admin(t, servertest.URL(t, "postgres"), "ALTER TABLE "+table+" SET (autovacuum_enabled = off)", "VACUUM ANALYZE "+table)
	use(10)
	if err := s.Batch(t.Context(), records(0, 20_000)); err != nil {
		t.Fatal(err)
	}
	use(10_000)
	s.Close() // and so the server counts
	conn, err := pgx.Connect(t.Context(), servertest.URL(t, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for began := time.Now(); ; {
		var whole, index int
		err := conn.QueryRow(t.Context(), "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = $1", table).Scan(&whole, &index)
		if err != nil {
			t.Fatal(err)
		}
		if whole > 1 { // to create the primary key counts as one
			t.Fatalf("the server has read the whole table %d times", whole)
		}
		if index >= 150 {
			return
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("the server has used the index %d times", index)
		}
	}
}
