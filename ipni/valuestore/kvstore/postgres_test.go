package kvstore_test

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/ipni/valuestore/valuestoretest"
	"github.com/hashstream/hashstream/kv/pgkv"
)

// postgresStore closes what it was opened with.
type postgresStore struct {
	*kvstore.Store
	db *pgkv.Store
}

func (s postgresStore) Close() error { return s.db.Close() }

func TestPostgres(t *testing.T) {
	address := servertest.URL(t, "postgres")
	var tables sync.Map // directory to address
	valuestoretest.TestStore(t, func(t *testing.T, dir string) valuestore.Store {
		own, known := tables.Load(dir)
		if !known {
			table := fmt.Sprintf("test_values_%d", time.Now().UnixNano())
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			q.Set("table", table)
			u.RawQuery = q.Encode()
			own = u.String()
			tables.Store(dir, own)
			t.Cleanup(func() { drop(t, address, table) })
		}
		db, err := pgkv.Open(t.Context(), own.(string), nil)
		if err != nil {
			t.Fatal(err)
		}
		return postgresStore{kvstore.New(db), db}
	}, nil)
}

func drop(t *testing.T, address, table string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
		t.Error(err)
	}
}
