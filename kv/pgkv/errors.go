package pgkv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"
)

// clean turns an error of the driver's into one line without credentials, which
// wraps nothing of the driver's.
func (s *Store) clean(ctx context.Context, err error) error {
	var server *pgconn.PgError
	var refused *pgconn.ConnectError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, puddle.ErrClosedPool):
		return fs.ErrClosed
	case errors.As(err, &server) && strings.HasPrefix(server.Code, "28"):
		return fmt.Errorf("the server refuses the user or the password (SQLSTATE %s)", server.Code)
	case state(err, "26000", "42P05"): // a prepared statement that is absent, or there already
		return fmt.Errorf("%s (SQLSTATE %s); behind a pooler the URL needs default_query_exec_mode=cache_describe", s.secrets.hide(server.Message), server.Code)
	case server != nil:
		return fmt.Errorf("%s (SQLSTATE %s)", s.secrets.hide(server.Message), server.Code)
	case errors.As(err, &refused):
		return errors.New(s.secrets.hide(refusal(refused)))
	}
	return errors.New(s.secrets.hide(err.Error()))
}

// refusal is the cause of the first attempt: there is one more for each address and way to
// encrypt, with long prefixes.
func refusal(err *pgconn.ConnectError) string {
	var lookup *net.DNSError
	var dial *net.OpError
	switch {
	case errors.As(err, &lookup):
		return lookup.Error()
	case errors.As(err, &dial):
		return dial.Error()
	}
	return "connect: " + err.Unwrap().Error()
}

// transient reports whether the call may succeed later.
func transient(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return passing(server.Code)
	}
	var network net.Error
	return pgconn.SafeToRetry(err) || errors.As(err, &network) || pgconn.Timeout(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed)
}

// passing knows the states of
// https://www.postgresql.org/docs/current/errcodes-appendix.html that pass by themselves: broken
// connections, lost races, a server that starts, stops or has no connection left.
func passing(code string) bool {
	return strings.HasPrefix(code, "08") || broken(code) ||
		slices.Contains([]string{"40001", "40P01", "53300", "57P03"}, code)
}

// broken knows the states after which the work may have been done or not.
func broken(code string) bool {
	return slices.Contains([]string{"08006", "08007", "40003", "57P01", "57P02", "57P05"}, code)
}

// unknown reports whether the server may have done what failed with err.
func unknown(err error) bool {
	var server *pgconn.PgError
	var refused *pgconn.ConnectError
	if errors.As(err, &refused) || pgconn.SafeToRetry(err) {
		return false
	}
	if errors.As(err, &server) {
		return broken(server.Code)
	}
	return true
}
