package config

import (
	"encoding"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// setting is one value from outside: what, to what, and who said so.
type setting struct {
	key    string // "section.key"
	value  any    // string, int64, float64, bool, []any; from environment and overrides always a string
	origin string // "FILE:LINE", a variable's or an option's name
}

// field is a settable key of a Config.
type field struct {
	key   string
	value reflect.Value
}

// fields yields the keys of c in the order of the file.
func (c *Config) fields() iter.Seq[field] {
	return func(yield func(field) bool) {
		for section, v := range reflect.ValueOf(c).Elem().Fields() {
			name := section.Tag.Get("toml")
			if !section.IsExported() || name == "-" {
				continue
			}
			for f, value := range v.Fields() {
				if !yield(field{name + "." + f.Tag.Get("toml"), value}) {
					return
				}
			}
		}
	}
}

// Keys returns every key, as "section.key", in the order of the file.
func Keys() []string {
	var c Config
	var keys []string
	for f := range c.fields() {
		keys = append(keys, f.key)
	}
	return keys
}

// Variable returns the name of the environment variable that sets key.
func Variable(key string) string {
	return "HASHSTREAM_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// apply sets the values in order and remembers where each came from.
func (c *Config) apply(settings []setting) error {
	fields := map[string]reflect.Value{}
	for f := range c.fields() {
		fields[f.key] = f.value
	}
	var problems []error
	for _, s := range settings {
		if err := assign(fields[s.key], s.value); err != nil {
			problems = append(problems, problem(s.origin, s.key, err))
			continue
		}
		c.origins[s.key] = s.origin
	}
	return errors.Join(problems...)
}

func problem(origin, key string, err error) error {
	return fmt.Errorf("config: %s: %s: %w (%w)", origin, key, err, ErrInvalid)
}

// assign sets dst to value; text is read as dst's type needs it.
func assign(dst reflect.Value, value any) error {
	if list, ok := value.([]any); ok {
		return assignList(dst, list)
	}
	text, isText := value.(string)
	if u, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if n, ok := value.(int64); ok {
			text, isText = strconv.FormatInt(n, 10), true
		}
		if !isText {
			return mismatch(dst, value)
		}
		return u.UnmarshalText([]byte(text))
	}
	switch dst.Kind() {
	case reflect.String:
		if !isText {
			return mismatch(dst, value)
		}
		dst.SetString(text)
	case reflect.Slice:
		if !isText {
			return mismatch(dst, value)
		}
		dst.Set(reflect.ValueOf(splitList(text)))
	case reflect.Bool:
		return assignBool(dst, value)
	default:
		return assignNumber(dst, value)
	}
	return nil
}

func assignBool(dst reflect.Value, value any) error {
	switch v := value.(type) {
	case bool:
		dst.SetBool(v)
		return nil
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			dst.SetBool(b)
			return nil
		}
	}
	return mismatch(dst, value)
}

func assignNumber(dst reflect.Value, value any) error {
	var f float64
	var err error
	switch v := value.(type) {
	case int64:
		f = float64(v)
	case float64:
		f = v
	case string:
		if f, err = strconv.ParseFloat(v, 64); err != nil {
			return mismatch(dst, value)
		}
	default:
		return mismatch(dst, value)
	}
	if dst.Kind() == reflect.Float64 {
		dst.SetFloat(f)
		return nil
	}
	if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return mismatch(dst, value)
	}
	dst.SetInt(int64(f))
	return nil
}

func assignList(dst reflect.Value, list []any) error {
	out := make([]string, 0, len(list))
	for _, item := range list {
		s, ok := item.(string)
		if !ok || dst.Kind() != reflect.Slice {
			return mismatch(dst, list)
		}
		out = append(out, s)
	}
	if dst.Kind() != reflect.Slice {
		return mismatch(dst, list)
	}
	dst.Set(reflect.ValueOf(out))
	return nil
}

func splitList(text string) []string {
	out := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func mismatch(dst reflect.Value, value any) error {
	want := map[reflect.Kind]string{
		reflect.String: "text in quotes", reflect.Bool: "true or false", reflect.Int: "a whole number",
		reflect.Float64: "a number", reflect.Slice: "a list of texts",
	}[dst.Kind()]
	switch dst.Interface().(type) {
	case Duration:
		want = `a time span such as "30s"`
	case Size:
		want = `a size such as "128MiB"`
	case ByteRate:
		want = `a rate such as "32MiB/s"`
	}
	if text, ok := value.(string); ok {
		return fmt.Errorf("%q is not %s", text, want)
	}
	return fmt.Errorf("%v is not %s", value, want)
}

// nearest returns the name that is the fewest edits away from got, or "" if all
// are so far away that naming one would not help.
func nearest(got string, names []string) string {
	best, least := "", max(len(got)/2, 3)
	for _, name := range names {
		if d := distance(got, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// unknown is the error for a name that nothing has.
func unknown(origin, what, got string, names []string) error {
	if len(got) > 200 {
		got = got[:200] + "…" // a hostile name must not fill the terminal, nor the distance table
	}
	hint := ""
	if near := nearest(got, names); near != "" {
		hint = fmt.Sprintf(", did you mean %s?", near)
	}
	if origin != "" {
		origin += ": "
	}
	return fmt.Errorf("config: %sunknown %s %s%s (%w)", origin, what, got, hint, ErrInvalid)
}
