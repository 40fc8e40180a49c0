package pgkv_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pgkv"
)

// parameter returns a parameter of a URL.
func parameter(t testing.TB, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

func terminate(t testing.TB, address string) {
	t.Helper()
	admin(t, servertest.URL(t, "postgres"), fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '%s'", parameter(t, address, "application_name")))
}

// lock locks the table of a store for everybody else until unlock is called.
func lock(t *testing.T, address string) (unlock func(), waiting func() int) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, servertest.URL(t, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(ctx) })
	exec := func(sql string) {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	table := parameter(t, address, "table")
	exec("BEGIN")
	exec("LOCK TABLE " + table + " IN ACCESS EXCLUSIVE MODE")
	waiting = func() (n int) {
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '"+table+"'::regclass").Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return func() { exec("COMMIT") }, waiting
}

// A canceled call returns at once, and the server stops to work for it.
func TestCancelStatement(t *testing.T) {
	address := own(t)
	s := open(t, address, nil)
	unlock, waiting := lock(t, address)
	for name, call := range map[string]func(ctx context.Context) error{
		"get": func(ctx context.Context) error { _, err := s.Get(ctx, []byte("a")); return err },
		"scan": func(ctx context.Context) (err error) {
			for _, err = range s.Scan(ctx, kv.Range{}) {
			}
			return err
		},
		"batch": func(ctx context.Context) error { return s.Batch(ctx, []kv.Op{kv.Put([]byte("a"), nil)}) },
		"batch2": func(ctx context.Context) error {
			return s.Batch(ctx, []kv.Op{kv.Put([]byte("a"), nil), kv.Delete([]byte("b"))})
		},
		"update": func(ctx context.Context) error { return s.Update(ctx, []byte("a"), increment) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- call(ctx) }()
		for waiting() == 0 {
		}
		canceled := time.Now()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || time.Since(canceled) > 20*time.Second {
			t.Errorf("%s returns %v, %v after it was canceled", name, err, time.Since(canceled))
		}
		for waiting() != 0 {
		}
	}
	unlock()
	if err := s.Update(t.Context(), []byte("a"), increment); err != nil {
		t.Error(err)
	}
}

func TestStatementTimeout(t *testing.T) {
	address := own(t)
	s := open(t, with(t, address, "statement_timeout", "100"), nil)
	unlock, _ := lock(t, address)
	err := s.Batch(t.Context(), []kv.Op{kv.Put([]byte("a"), nil)})
	if err == nil || !strings.Contains(err.Error(), "pgkv: batch of 1: canceling statement due to statement timeout") {
		t.Errorf("Batch: %v", err)
	}
	unlock()
	if err := s.Batch(t.Context(), []kv.Op{kv.Put([]byte("a"), nil)}); err != nil {
		t.Error(err)
	}
}

// closedPort returns an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestOpenDown(t *testing.T) {
	address := closedPort(t)
	_, err := pgkv.Open(t.Context(), "postgres://alice:s3cr3t@"+address+"/db?sslmode=disable", &pgkv.Options{RetryFor: 100 * time.Millisecond})
	if !errors.Is(err, pgkv.ErrUnavailable) {
		t.Fatalf("Open: %v, want ErrUnavailable", err)
	}
	for _, want := range []string{"postgres://" + address + "/db", "connection refused", "is this the address of a running server?"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}

// A server that takes connections and says nothing does not outlast a context.
func TestOpenSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = pgkv.Open(ctx, "postgres://"+l.Addr().String()+"/db?sslmode=disable", nil)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 20*time.Second {
		t.Errorf("Open returns %v after %v", err, time.Since(began))
	}
}

func TestCredentials(t *testing.T) {
	real, err := url.Parse(servertest.URL(t, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	host := real.Host
	for name, address := range map[string]string{
		"unknown user":          "postgres://alice:s3cr3t@" + host + "/postgres?sslmode=disable",
		"password as parameter": "postgres://" + host + "/postgres?sslmode=disable&user=alice&password=s3cr3t",
		"no database":           "postgres://alice:s3cr3t@" + host + "/absent?sslmode=disable",
		"no tls":                "postgres://alice:s3cr3t@" + host + "/postgres?sslmode=require",
		"nobody there":          "postgres://alice:s3cr3t@" + closedPort(t) + "/db",
		"several hosts":         "postgres://alice:s3cr3t@" + closedPort(t) + "," + closedPort(t) + "/db",
		"no such host":          "postgres://alice:s3cr3t@host.invalid/db",
		"percent":               "postgres://alice:%s3cr3t@" + host + "/db",
		"slash":                 "postgres://alice:12/s3cr3t@" + host + "/db",
		"question mark":         "postgres://alice:12?s3cr3t@" + host + "/db",
		"hash":                  "postgres://alice:12#s3cr3t@" + host + "/db",
		"hash in a word":        "postgres://alice:s3cr3t#x@" + host + "/db",
		"no port":               "postgres://alice:s3cr3t@127.0.0.1:port/db",
		"port beyond all":       "postgres://alice:s3cr3t@127.0.0.1:99999999/db",
		"scheme":                "mysql://alice:s3cr3t@" + host + "/db",
		"words":                 "user=alice password=s3cr3t host=127.0.0.1",
		"sslmode":               "postgres://alice:s3cr3t@" + host + "/db?sslmode=s3cr3t",
		"timeout":               "postgres://alice:s3cr3t@" + host + "/db?connect_timeout=s3cr3t",
		"pool":                  "postgres://alice:s3cr3t@" + host + "/db?pool_max_conns=s3cr3t",
		"mode":                  "postgres://alice:s3cr3t@" + host + "/db?default_query_exec_mode=s3cr3t",
		"certificate":           "postgres://alice:s3cr3t@" + host + "/db?sslmode=verify-full&sslrootcert=/absent",
		"parameter":             "postgres://alice:s3cr3t@" + host + "/db?%zz=s3cr3t",
		"table":                 "postgres://alice:s3cr3t@" + host + "/db?table=a.b.c",
		"long table":            "postgres://alice:s3cr3t@" + host + "/db?table=" + strings.Repeat("t", 64),
	} {
		s, err := pgkv.Open(t.Context(), address, &pgkv.Options{RetryFor: -1})
		if err == nil {
			t.Errorf("%s: no error", name)
			s.Close()
			continue
		}
		t.Logf("%s: %v", name, err)
		if !strings.HasPrefix(err.Error(), "pgkv: open") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q does not say on one line what was tried", name, err)
		}
		noSecrets(t, name, err, "alice", "s3cr3t")
	}
	real.User = url.UserPassword("hashstream", "s3cr3t")
	_, err = pgkv.Open(t.Context(), real.String(), nil)
	if err == nil || !strings.Contains(err.Error(), "the server refuses the user or the password (SQLSTATE 28P01)") {
		t.Errorf("wrong password: %v", err)
	}
	noSecrets(t, "wrong password", err, "hashstream", "s3cr3t")
}

// noSecrets looks into all that err wraps, as a logger might.
func noSecrets(t *testing.T, name string, err error, secrets ...string) {
	t.Helper()
	for _, text := range []string{fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s: %s has %q in it", name, text, secret)
			}
		}
	}
	switch w := err.(type) {
	case interface{ Unwrap() error }:
		if inner := w.Unwrap(); inner != nil {
			noSecrets(t, name, inner, secrets...)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range w.Unwrap() {
			noSecrets(t, name, inner, secrets...)
		}
	}
}
