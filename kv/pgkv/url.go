package pgkv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const defaultTable = "hashstream_kv"

// target is what a URL says.
type target struct {
	config  *pgxpool.Config
	table   pgx.Identifier // [schema,] table
	name    string         // the URL without user and query
	secrets secrets
}

// parse reads a URL. It is stricter than the driver: text that may be the tail of
// a password with an unescaped delimiter is refused and not repeated.
func parse(text string) (*target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || strings.Contains(u.EscapedPath()+u.RawQuery, "@") {
		return nil, errors.New("the URL is malformed; percent-encode special characters of the password and the parameters")
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("the URL does not begin with postgres://")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the parameters of the URL are malformed")
	}
	t := &target{name: (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()}
	if t.table, err = parseTable(query.Get("table")); err != nil {
		return nil, err
	}
	query.Del("table")
	u.RawQuery = query.Encode()
	t.config, err = pgxpool.ParseConfig(u.String())
	t.secrets = secretsOf(u, query, t.config)
	if err != nil {
		return nil, fmt.Errorf("%s: the URL is refused: %s", t.name, t.secrets.hide(parseCause(err)))
	}
	t.tune(query)
	return t, nil
}

// parseCause is what the driver says against a URL, after the URL itself.
func parseCause(err error) string {
	text := err.Error()
	i := strings.LastIndex(text, "`: ")
	if i < 0 {
		return "a parameter is wrong"
	}
	return text[i+len("`: "):]
}

func parseTable(text string) (pgx.Identifier, error) {
	if text == "" {
		return pgx.Identifier{defaultTable}, nil
	}
	id := pgx.Identifier(strings.Split(text, "."))
	for _, part := range id {
		// The server would cut a longer name, and two tables would become one.
		if len(part) == 0 || len(part) > 63 || strings.ContainsRune(part, 0) {
			return nil, fmt.Errorf("table %.80q: each part of the name must have 1 to 63 bytes", text)
		}
	}
	if len(id) > 2 {
		return nil, fmt.Errorf("table %.80q: want [schema.]name", text)
	}
	return id, nil
}

func (t *target) tune(query url.Values) {
	c := t.config
	if !query.Has("pool_max_conns") {
		c.MaxConns = defaultConns
	}
	c.MaxConnLifetimeJitter = c.MaxConnLifetime / 10
	c.PingTimeout = connectTimeout
	if c.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		c.AfterConnect = fixPlans
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "hashstream"
	}
	if !query.Has("connect_timeout") {
		c.ConnConfig.ConnectTimeout = connectTimeout
	}
	// A server that vanished without a word is noticed within half a minute.
	d := &net.Dialer{Timeout: c.ConnConfig.ConnectTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	c.ConnConfig.DialFunc = d.DialContext
}

// fixPlans lets the server plan each prepared statement once, and by the index: that is
// right at any size of the table and for any arguments. By itself it plans short
// scans anew each time, may keep a plan to read the whole table from when that was
// small, and may sort the rest of the table for each page of a long scan. Compatible servers
// need not have these settings.
func fixPlans(ctx context.Context, conn *pgx.Conn) error {
	for _, setting := range []string{"enable_seqscan = off", "enable_bitmapscan = off", "jit = off", "plan_cache_mode = force_generic_plan"} {
		_, err := conn.Exec(ctx, "SET "+setting, pgx.QueryExecModeSimpleProtocol)
		var server *pgconn.PgError
		if err != nil && !errors.As(err, &server) {
			return err
		}
	}
	return nil
}

// secrets hides credentials in texts.
type secrets struct{ user, password []string }

func secretsOf(u *url.URL, query url.Values, c *pgxpool.Config) (s secrets) {
	password, _ := u.User.Password()
	s.user = []string{u.User.Username(), query.Get("user")}
	s.password = append([]string{password}, query["password"]...)
	s.password = append(s.password, query["sslpassword"]...)
	if c != nil { // also what came from the environment
		s.user = append(s.user, c.ConnConfig.User)
		s.password = append(s.password, c.ConnConfig.Password)
	}
	return s
}

// hide returns text on one line without credentials. A user may have the name of
// anything, so only a quoted one is hidden.
func (s secrets) hide(text string) string {
	for _, p := range s.password {
		for _, p := range []string{p, url.QueryEscape(p), url.PathEscape(p)} {
			if len(p) > 2 {
				text = strings.ReplaceAll(text, p, "redacted")
			}
		}
	}
	for _, user := range s.user {
		if user != "" {
			text = strings.ReplaceAll(text, `"`+user+`"`, `"…"`)
			text = strings.ReplaceAll(text, `user=`+user, "user=…")
		}
	}
	return strings.Join(strings.Fields(text), " ")
}
