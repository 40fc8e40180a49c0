package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func write(t testing.TB, home, text string) string {
	t.Helper()
	name := filepath.Join(home, FileName)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func Example() {
	c, err := Load("/srv/hashstream", "", []string{"HASHSTREAM_GATEWAY_LISTEN=:80"}, map[string]string{"verify.mode": "always"})
	fmt.Println(c.Gateway.Listen, c.Verify.Mode, c.Add.PackSize, err)
	_, err = Load("/srv/hashstream", "", []string{"HASHSTREAM_GATEWAY_LISTN=:80"}, nil)
	fmt.Println(err)
	// Output:
	// :80 always 128MiB <nil>
	// config: environment: unknown variable HASHSTREAM_GATEWAY_LISTN, did you mean HASHSTREAM_GATEWAY_LISTEN? (invalid configuration)
}

func TestPrecedence(t *testing.T) {
	home := t.TempDir()
	file := write(t, home, `
[log]
level = "debug"
format = "text"
[gateway]
rate = 5
max_concurrent = 7
trusted_proxies = ["10.0.0.0/8"]
idle_timeout = "7d"
[cache]
plans = 4096
`)
	c, err := Load(home, "", []string{"HASHSTREAM_LOG_FORMAT=json", "HASHSTREAM_GATEWAY_RATE=6.5", "HASHSTREAM_SCRUB_ENABLED=false", "PATH=/bin"},
		map[string]string{"gateway.rate": "7"})
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		Level, Format string
		Rate          float64
		Max           int
		Idle          time.Duration
		Plans         Size
		Scrub         bool
		File          string
	}
	want := result{"debug", "json", 7, 7, 7 * 24 * time.Hour, 4096, false, file}
	got := result{c.Log.Level, c.Log.Format, c.Gateway.Rate, c.Gateway.MaxConcurrent, c.Gateway.IdleTimeout.Std(), c.Cache.Plans, c.Scrub.Enabled, c.File}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	origins := map[string]string{"log.level": file + ":3", "log.format": "HASHSTREAM_LOG_FORMAT", "gateway.rate": "command line", "log.access": "default"}
	for key, want := range origins {
		if got := c.Origin(key); got != want {
			t.Errorf("origin of %s: %s, want %s", key, got, want)
		}
	}
}

// TestErrors compares whole messages: they are what an operator reads.
func TestErrors(t *testing.T) {
	for _, tt := range []struct{ name, file, env, want string }{
		{name: "unknown key", file: "[gateway]\nlistne = \":80\"\n",
			want: "FILE:2: unknown key gateway.listne, did you mean gateway.listen?"},
		{name: "unknown section", file: "\n[gatway]\nlisten = \":80\"\n",
			want: "FILE:3: unknown key gatway.listen, did you mean gateway.listen?"},
		{name: "empty unknown section", file: "[nothing]\n", want: "FILE:1: unknown key nothing"},
		{name: "no section", file: "listen = \":80\"\n", want: "FILE:1: unknown key listen"},
		{name: "inline table", file: "gateway = {listen = \":80\",\n xyzzy = 1}\n", want: "FILE:2: unknown key gateway.xyzzy, did you mean gateway.rate?"},
		{name: "dotted key", file: "\n\ngateway.\"listen\" = 5\n", want: "FILE:3: gateway.listen: 5 is not text in quotes"},
		{name: "array of tables", file: "[[gateway]]\nlisten = \":80\"\n", want: "FILE:1: unknown key gateway"},
		{name: "type", file: "[gateway]\nmax_concurrent = \"many\"\n", want: `FILE:2: gateway.max_concurrent: "many" is not a whole number`},
		{name: "fraction", file: "[gateway]\nmax_concurrent = 1.5\n", want: `FILE:2: gateway.max_concurrent: 1.5 is not a whole number`},
		{name: "bool", file: "[log]\naccess = 1\n", want: `FILE:2: log.access: 1 is not true or false`},
		{name: "list", file: "[gateway]\ntrusted_proxies = [1]\n", want: `FILE:2: gateway.trusted_proxies: [1] is not a list of texts`},
		{name: "list for text", file: "[gateway]\nlisten = [\"a\"]\n", want: `FILE:2: gateway.listen: [a] is not text in quotes`},
		{name: "duration", file: "[gateway]\nidle_timeout = \"5 minutes\"\n",
			want: `FILE:2: gateway.idle_timeout: "5 minutes" is not a time span such as "30s", "1h30m" or "7d"`},
		{name: "duration type", file: "[gateway]\nidle_timeout = true\n", want: `FILE:2: gateway.idle_timeout: true is not a time span such as "30s"`},
		{name: "size", file: "[add]\npack_size = \"128 potatoes\"\n",
			want: `FILE:2: add.pack_size: "128 potatoes" is not a size such as "128MiB", "1.5GB" or 4096`},
		{name: "small pack", file: "[add]\npack_size = \"1MiB\"\n", want: `FILE:2: add.pack_size: 1MiB is not between 4MiB and 1TiB`},
		{name: "date", file: "[add]\npack_size = 2020-01-01\n", want: `FILE:2: add.pack_size: 2020-01-01 is not a size such as "128MiB"`},
		{name: "weight", file: "[shard]\nweight = 0\n", want: "FILE:2: shard.weight: 0 is not between 1 and 10000"},
		{name: "rebalance rate", file: "[shard]\nrebalance_rate = \"1KiB/s\"\n", want: "FILE:2: shard.rebalance_rate: 1KiB is not between 64KiB and 1TiB"},
		{name: "share of comparisons", file: "[find]\ncompare_share = 0.6\n", want: "FILE:2: find.compare_share: 0.6 is not between 0 and 0.5"},
		{name: "compared with nobody", file: "[find]\ncompare = \"ftp://user:secret@old\"\n", want: `FILE:2: find.compare: "ftp://user:redacted@old" is not a URL such as "http://127.0.0.1:4318"`},
		{name: "rate of entries", file: "[ingest]\nentry_rate = -1\n", want: "FILE:2: ingest.entry_rate: -1 is not between 0 and 1e+12"},
		{name: "rate", file: "[scrub]\nrate = \"fast\"\n", want: `FILE:2: scrub.rate: "fast" is not a rate such as "32MiB/s"`},
		{name: "enum", env: "HASHSTREAM_VERIFY_MODE=sometimes",
			want: `HASHSTREAM_VERIFY_MODE: verify.mode: "sometimes" is not one of once, always or never`},
		{name: "nan", env: "HASHSTREAM_TRACE_SAMPLE_RATIO=nan", want: `HASHSTREAM_TRACE_SAMPLE_RATIO: trace.sample_ratio: nan is not a number`},
		{name: "admin", env: "HASHSTREAM_ADMIN_LISTEN=:5080",
			want: `HASHSTREAM_ADMIN_LISTEN: admin.listen: ":5080" can be reached from other machines and has no login; listen on 127.0.0.1, or set admin.allow_remote = true`},
		{name: "address", env: "HASHSTREAM_GATEWAY_LISTEN=8080",
			want: `HASHSTREAM_GATEWAY_LISTEN: gateway.listen: "8080" is not an address such as "127.0.0.1:8080" or ":8080"`},
		{name: "port", env: "HASHSTREAM_GATEWAY_LISTEN=:99999",
			want: `HASHSTREAM_GATEWAY_LISTEN: gateway.listen: ":99999": the port is not a number from 0 to 65535`},
		{name: "store", env: "HASHSTREAM_STORE_PACKS=packs", want: `HASHSTREAM_STORE_PACKS: store.packs: "packs" is not a URL such as "file:packs"`},
		{name: "tls", env: "HASHSTREAM_GATEWAY_TLS_KEY=k", want: `HASHSTREAM_GATEWAY_TLS_KEY: gateway.tls_key: gateway.tls_cert and gateway.tls_key go together`},
		{name: "network", env: "HASHSTREAM_GATEWAY_TRUSTED_PROXIES=10.0.0.0/99",
			want: `HASHSTREAM_GATEWAY_TRUSTED_PROXIES: gateway.trusted_proxies: "10.0.0.0/99" is not an address or a network such as 10.0.0.0/8`},
		{name: "collector", env: "HASHSTREAM_TRACE_ENDPOINT=localhost:4318",
			want: `HASHSTREAM_TRACE_ENDPOINT: trace.endpoint: "localhost:4318" is not a URL such as "http://127.0.0.1:4318"`},
		{name: "timeout", env: "HASHSTREAM_GATEWAY_STALL_TIMEOUT=0s", want: `HASHSTREAM_GATEWAY_STALL_TIMEOUT: gateway.stall_timeout: 0s is not more than 0`},
		{name: "unknown variable", env: "HASHSTREAM_GATEWAY_RATES=1",
			want: "environment: unknown variable HASHSTREAM_GATEWAY_RATES, did you mean HASHSTREAM_GATEWAY_RATE?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := t.TempDir()
			file := write(t, home, tt.file)
			_, err := Load(home, "", []string{tt.env}, nil)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v does not match ErrInvalid", err)
			}
			want := "config: " + strings.ReplaceAll(tt.want, "FILE", file) + " (invalid configuration)"
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	home := t.TempDir()
	file := write(t, home, "[log]\nlevel = \"loud\"\ncolour = true\n")
	_, err := Load(home, "", []string{"HASHSTREAM_LOG_ACCESS=2"}, map[string]string{"lgo.level": "x"})
	want := []string{file + ":2: log.level", file + ":3: unknown key log.colour", "HASHSTREAM_LOG_ACCESS: log.access", "command line: unknown key lgo.level, did you mean log.level?"}
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%q is missing in:\n%v", w, err)
		}
	}
}

func TestSyntaxError(t *testing.T) {
	home := t.TempDir()
	for text, at := range map[string]string{"[log\n": ":1:", "[log]\nlevel = \n": ":2:", "[log]\nlevel = \"a\"\nlevel = \"b\"\n": ":3:", "a = \"\xff\"": ":1:"} {
		file := write(t, home, text)
		_, err := Load(home, "", nil, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "config: "+file+at) || !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want it at %s", text, err, at)
		}
	}
}

func TestFile(t *testing.T) {
	home := t.TempDir()
	if c, err := Load(home, "", nil, nil); err != nil || c.File != "" {
		t.Errorf("no file: %q, %v", c.File, err)
	}
	if _, err := Load(home, filepath.Join(home, "other.toml"), nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a named file that is absent: %v", err)
	}
	other := filepath.Join(home, "env.toml")
	if err := os.WriteFile(other, []byte("[log]\nlevel = \"warn\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(home, "", []string{"HASHSTREAM_CONFIG=" + other}, nil); err != nil || c.Log.Level != "warn" {
		t.Errorf("HASHSTREAM_CONFIG: %q, %v", c.Log.Level, err)
	}
	write(t, home, strings.Repeat("#", maxFile+1))
	if _, err := Load(home, "", nil, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("oversized file: %v", err)
	}
}

func TestHomeDir(t *testing.T) {
	for _, tt := range []struct {
		home, want string
		env        []string
	}{
		{home: "/a/../b", want: "/b", env: []string{"HASHSTREAM_HOME=/c"}},
		{want: "/c", env: []string{"HASHSTREAM_HOME=/c", "XDG_DATA_HOME=/d"}},
		{want: "/d/hashstream", env: []string{"XDG_DATA_HOME=/d", "HOME=/e"}},
		{want: "/e/.local/share/hashstream", env: []string{"XDG_DATA_HOME=relative", "HOME=/e"}},
		{want: ""},
	} {
		got, err := HomeDir(tt.home, tt.env)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("HomeDir(%q, %q) = %q, %v, want %q", tt.home, tt.env, got, err, tt.want)
		}
	}
}

// TestForeignVariables: an orchestrator's variables do not stop the node.
func TestForeignVariables(t *testing.T) {
	env := []string{"HASHSTREAM_SERVICE_HOST=10.0.0.1", "HASHSTREAM_PORT=tcp://10.0.0.1:80", "HASHSTREAM_PORT_80_TCP_ADDR=10.0.0.1",
		"HASHSTREAM_ADMIN_SERVICE_PORT_HTTP=80", "HASHSTREAM_TEST_S3=x", "HASHSTREAM_HOME=/x", "HASHSTREAM=1"}
	if _, err := Load(t.TempDir(), "", env, nil); err != nil {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	sizes := map[string]Size{"0": 0, "1": 1, "7B": 7, "1KiB": 1024, "1.5 MiB": 3 << 19, "2GB": 2e9, "9223372036854775807": 1<<63 - 1}
	for text, want := range sizes {
		var got, again Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("size %q = %d, %v, want %d", text, got, err, want)
		}
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("size %s reads back as %d, %v", got, again, err)
		}
	}
	for _, text := range []string{"", "-1", "+1", "1e9", "0x10", "nan", "inf", "9223372036854775808", "8388608TiB", "9999999.5TiB", "1..2", "MiB", "1MiBB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("size %q = %d, want an error", text, s)
		}
	}
	for _, text := range []string{"", "-1s", "1", "200000d", "1.5d", "d", "forever"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("duration %q = %s, want an error", text, d)
		}
	}
	for want, d := range map[string]time.Duration{"7d": 168 * time.Hour, "1h": time.Hour, "1h30m": 90 * time.Minute, "10s": 10 * time.Second, "1h0m5s": time.Hour + 5*time.Second, "20m": 20 * time.Minute, "0s": 0} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"file:packs":                               "file:packs",
		"127.0.0.1:8080":                           "127.0.0.1:8080",
		"postgres://u:hunter2@h/db":                "postgres://u:redacted@h/db",
		"s3://b/p?region=x&secret_access_key=abcd": "s3://b/p?region=x&secret_access_key=redacted",
		"https://h/?X-Amz-Signature=abcd":          "https://h/?X-Amz-Signature=redacted",
		"http://u:p%zz@h":                          "(redacted)",
		"s3:/u:hunter2@b":                          "s3:/u:redacted@b",
		"s3//u:hunter2@b/x":                        "s3//u:redacted@b/x",
		"u:hunter2@b":                              "u:redacted@b",
		"/srv/a:b@c":                               "/srv/a:b@c",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
	c, err := Load(t.TempDir(), "", []string{"HASHSTREAM_STORE_INDEX=postgres://u:hunter2@h/db", "HASHSTREAM_SOURCES_ROOTS=/x,https://u:hunter2@h/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(c)
	if err != nil || strings.Contains(string(data)+c.Describe(), "hunter2") {
		t.Errorf("a password is shown: %s %v\n%s", data, err, c.Describe())
	}
	if !strings.Contains(string(data), `"pack_size":"128MiB"`) || !strings.Contains(string(data), `"home":"/`) {
		t.Errorf("unexpected JSON: %s", data)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Template())
	f.Add([]byte("gateway = {listen = \":80\", idle_timeout = \"1h\"}\n"))
	f.Add([]byte("[[a]]\nb.c.\"d\" = [1, 2.5, {x = 1979-05-27}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		settings, err := parse("f", data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v does not match ErrInvalid", err)
			}
			return
		}
		c := Default("/h")
		c.origins = map[string]string{}
		if err := errors.Join(c.apply(settings), c.validate()); err != nil {
			return
		}
		// What was accepted describes itself as a file that means the same.
		again := Default("/h")
		again.origins = map[string]string{}
		settings, err = parse("f", []byte(c.Describe()))
		if err != nil {
			t.Fatalf("%v\n%s", err, c.Describe())
		}
		if err := again.apply(settings); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, again, ignoreOrigin); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzValues(f *testing.F) {
	f.Add("1.5MiB")
	f.Add("1h30m")
	f.Fuzz(func(t *testing.T, s string) {
		var size Size
		if size.UnmarshalText([]byte(s)) == nil && size < 0 {
			t.Errorf("size %q = %d", s, size)
		}
		var d, again Duration
		if d.UnmarshalText([]byte(s)) == nil && (d < 0 || again.UnmarshalText([]byte(d.String())) != nil || again != d) {
			t.Errorf("duration %q = %s, then %s", s, d, again)
		}
	})
}
