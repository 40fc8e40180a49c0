package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span, written as in "1h30m", "90s", "500ms" or "7d".
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the shortest form.
func (d Duration) String() string {
	const day = 24 * time.Hour
	if v := d.Std(); v != 0 && v%day == 0 {
		return strconv.FormatInt(int64(v/day), 10) + "d"
	}
	s := d.Std().String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes the form of String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a time span of zero or more.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := parseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf(`%q is not a time span such as "30s", "1h30m" or "7d"`, text)
	}
	*d = Duration(v)
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	days, ok := strings.CutSuffix(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, err
	}
	if n > 100_000 { // 292 years are what a time.Duration holds
		return 0, strconv.ErrRange
	}
	return time.Duration(n) * 24 * time.Hour, nil
}

// Size is a number of bytes, written as in "128MiB", "1.5GB" or 4096.
type Size int64

// units are in the order in which String tries them; decimal ones are only read.
var units = [...]struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1}, {"", 1},
}

// String returns the size exactly, with the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range units[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText writes the form of String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a size of zero or more.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := scale(strings.TrimSpace(digits), u.bytes)
		if err != nil {
			break
		}
		*s = Size(n)
		return nil
	}
	return fmt.Errorf(`%q is not a size such as "128MiB", "1.5GB" or 4096`, text)
}

// scale returns digits × unit, exact for whole numbers.
func scale(digits string, unit int64) (int64, error) {
	if n, err := strconv.ParseUint(digits, 10, 63); err == nil {
		if int64(n) > math.MaxInt64/unit {
			return 0, strconv.ErrRange
		}
		return int64(n) * unit, nil
	}
	if strings.Trim(digits, "0123456789.") != "" {
		return 0, strconv.ErrSyntax // no exponents, signs, hexadecimal or NaN
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || f*float64(unit) >= math.MaxInt64 {
		return 0, strconv.ErrRange
	}
	return int64(f * float64(unit)), nil
}

// ByteRate is a number of bytes a second, written as a [Size] with or without "/s".
type ByteRate int64

// String returns the size with "/s".
func (r ByteRate) String() string { return Size(r).String() + "/s" }

// MarshalText writes the form of String.
func (r ByteRate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a rate of zero or more.
func (r *ByteRate) UnmarshalText(text []byte) error {
	var s Size
	if s.UnmarshalText([]byte(strings.TrimSuffix(string(text), "/s"))) != nil {
		return fmt.Errorf(`%q is not a rate such as "32MiB/s"`, text)
	}
	*r = ByteRate(s)
	return nil
}
