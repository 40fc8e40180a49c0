package config

import (
	"bytes"
	_ "embed" // for the template
	"encoding"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// template is written by `go test ./internal/config -run TestTemplate -update`
// from the comments in sections.go.
//
//go:embed template.toml
var template []byte

// Template returns the documented default file: every key with its meaning and,
// commented out, its default.
func Template() []byte { return bytes.Clone(template) }

// Describe returns what would run: a TOML document with every key, its effective
// value and where it was set. Credentials are redacted.
func (c Config) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# home: %s\n", c.Home)
	if c.File == "" {
		fmt.Fprintf(&b, "# file: none (%s is read if it exists)\n", FileName)
	} else {
		fmt.Fprintf(&b, "# file: %s\n", c.File)
	}
	last := ""
	for f := range c.fields() {
		section, key, _ := strings.Cut(f.key, ".")
		if section != last {
			fmt.Fprintf(&b, "\n[%s]\n", section)
			last = section
		}
		fmt.Fprintf(&b, "%-40s # %s\n", key+" = "+literal(f.value), c.Origin(f.key))
	}
	return b.String()
}

// MarshalJSON writes {"home":…, "file":…, "section":{"key":value}}. Credentials are
// redacted.
func (c Config) MarshalJSON() ([]byte, error) {
	out := map[string]any{"home": c.Home, "file": c.File}
	for f := range c.fields() {
		section, key, _ := strings.Cut(f.key, ".")
		if out[section] == nil {
			out[section] = map[string]any{}
		}
		out[section].(map[string]any)[key] = plain(f.value)
	}
	return json.Marshal(out)
}

// plain returns v for output, without credentials.
func plain(v reflect.Value) any {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, _ := m.MarshalText() // ours never fail
		return string(text)
	}
	if v.Kind() == reflect.String {
		return Redact(v.String())
	}
	if list, ok := v.Interface().([]string); ok {
		shown := make([]string, len(list))
		for i, s := range list {
			shown[i] = Redact(s)
		}
		return shown
	}
	return v.Interface()
}

// literal returns v as TOML.
func literal(v reflect.Value) string {
	switch p := plain(v).(type) {
	case string:
		return quote(p)
	case []string:
		quoted := make([]string, len(p))
		for i, s := range p {
			quoted[i] = quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case float64:
		return strconv.FormatFloat(p, 'f', -1, 64)
	default:
		return fmt.Sprint(p)
	}
}

// quote returns s as a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// secretName matches the names of URL parameters that carry credentials.
var secretName = regexp.MustCompile(`(?i)(secret|password|passwd|token|credential|signature|access.?key|api.?key|^key$|^sig$|^auth)`)

// mistyped matches a password in text that only resembles a URL.
var mistyped = regexp.MustCompile(`:[^/:@]+@`)

// Redact returns a URL without its password and without parameters that look like
// credentials. Text that is no URL comes back as it is, unless it has an "@".
func Redact(s string) string {
	if !strings.ContainsAny(s, ":@?") {
		return s
	}
	if !strings.Contains(s, "://") && !strings.HasPrefix(s, "/") { // a URL that was mistyped may have a password all the same
		s = mistyped.ReplaceAllString(s, ":redacted@")
	}
	u, err := url.Parse(s)
	if err != nil {
		if strings.ContainsAny(s, "@?") {
			return "(redacted)"
		}
		return s
	}
	changed := false
	if _, ok := u.User.Password(); ok {
		u.User, changed = url.UserPassword(u.User.Username(), "redacted"), true
	}
	query := u.Query()
	for name := range query {
		if secretName.MatchString(name) {
			query[name], changed = []string{"redacted"}, true
		}
	}
	if !changed {
		return s
	}
	if u.RawQuery != "" {
		u.RawQuery = query.Encode()
	}
	return u.String()
}
