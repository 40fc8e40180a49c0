package pgkv_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/kvtest"
	"github.com/hashstream/hashstream/kv/pgkv"
)

var tables atomic.Int64

// with returns address with parameters added: name, value, …
func with(t testing.TB, address string, params ...string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// own returns the address of a table that no other test has.
func own(t testing.TB, params ...string) string {
	t.Helper()
	address := servertest.URL(t, "postgres")
	table := fmt.Sprintf("test_%d_%d", time.Now().UnixNano(), tables.Add(1))
	t.Cleanup(func() { admin(t, address, "DROP TABLE IF EXISTS "+table) })
	return with(t, address, append(params, "table", table)...)
}

// admin runs statements beside the store.
func admin(t testing.TB, address string, statements ...string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func open(t testing.TB, address string, o *pgkv.Options) *pgkv.Store {
	t.Helper()
	s, err := pgkv.Open(t.Context(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	for _, mode := range []string{"cache_describe", "cache_statement", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, own(t, "default_query_exec_mode", mode), nil) })
		})
	}
}

// A node with few connections must not wait for itself.
func TestStoreFewConns(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, own(t), &pgkv.Options{Conns: 2}) })
}

// The strictest level makes the server refuse what might go wrong.
func TestStoreSerializable(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store {
		return open(t, own(t, "default_transaction_isolation", "serializable"), nil)
	})
}

func TestOpenConcurrently(t *testing.T) {
	schema := fmt.Sprintf("schema_%d", time.Now().UnixNano())
	t.Cleanup(func() { admin(t, servertest.URL(t, "postgres"), "DROP SCHEMA "+schema+" CASCADE") })
	address := with(t, servertest.URL(t, "postgres"), "table", schema+".Mixed case")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			s, err := pgkv.Open(t.Context(), address, &pgkv.Options{Conns: 1})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.Batch(t.Context(), []kv.Op{kv.Put([]byte{1, byte(i)}, nil)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := open(t, address, nil)
	if n := count(t, s, kv.Range{}); n != 20 {
		t.Errorf("20 nodes wrote a pair each into one table: it has %d", n)
	}
}

func count(t testing.TB, s kv.Reader, r kv.Range) (n int) {
	t.Helper()
	for _, err := range s.Scan(t.Context(), r) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// A user who may only use the table gets by without the right to create it.
func TestPrivileges(t *testing.T) {
	address := own(t)
	s := open(t, address, nil)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	table := u.Query().Get("table")
	role := "role_" + table
	u.User = url.UserPassword(role, "p")
	admin(t, servertest.URL(t, "postgres"), "CREATE ROLE "+role+" LOGIN PASSWORD 'p'", "GRANT SELECT ON "+table+" TO "+role)
	t.Cleanup(func() { admin(t, servertest.URL(t, "postgres"), "DROP OWNED BY "+role, "DROP ROLE "+role) })
	reader := open(t, u.String(), nil)
	if err := s.Batch(t.Context(), []kv.Op{kv.Put([]byte("a"), nil)}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, reader, kv.Range{}); n != 1 {
		t.Errorf("a reader sees %d pairs, want 1", n)
	}
	err = reader.Batch(t.Context(), []kv.Op{kv.Put([]byte("b"), nil)})
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a reader writes: %v", err)
	}
	_, err = pgkv.Open(t.Context(), with(t, u.String(), "table", "absent"), nil)
	if err == nil || !strings.Contains(err.Error(), `create table "absent": permission denied`) {
		t.Errorf("a reader creates a table: %v", err)
	}
}

func TestForeignTable(t *testing.T) {
	address := own(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	admin(t, servertest.URL(t, "postgres"), "CREATE TABLE "+u.Query().Get("table")+" (key text PRIMARY KEY, value bytea)")
	if _, err := pgkv.Open(t.Context(), address, nil); err == nil || !strings.Contains(err.Error(), "column key is not of type bytea") {
		t.Errorf("Open of somebody else's table: %v", err)
	}
}

func TestClose(t *testing.T) {
	s := open(t, own(t), nil)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), []byte("a")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Get after Close: %v, want fs.ErrClosed", err)
	}
	if err := s.Batch(t.Context(), []kv.Op{kv.Put([]byte("a"), nil)}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Batch after Close: %v, want fs.ErrClosed", err)
	}
}
