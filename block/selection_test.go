package block_test

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/block"
)

const star = int64(math.MaxInt64)

func TestParseByteRange(t *testing.T) {
	for s, want := range map[string]block.ByteRange{
		"0:*": {Open: true}, "512:*": {From: 512, Open: true}, "512:1023": {From: 512, To: 1023}, "512:-256": {From: 512, To: -256},
		"-5:*": {From: -5, Open: true}, "-9999:*": {From: -9999, Open: true}, "-9999:-3": {From: -9999, To: -3}, "0:0": {}, "5:5": {From: 5, To: 5},
		"-1:-1": {From: -1, To: -1}, "-5:3": {From: -5, To: 3}, "-2048:*": {From: -2048, Open: true},
		"9223372036854775807:*":                     {From: math.MaxInt64, Open: true},
		"-9223372036854775808:9223372036854775807":  {From: math.MinInt64, To: math.MaxInt64},
		"9223372036854775807:-9223372036854775808":  {From: math.MaxInt64, To: math.MinInt64},
		"-9223372036854775808:-9223372036854775808": {From: math.MinInt64, To: math.MinInt64},
	} {
		got, err := block.ParseByteRange(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if diff := cmp.Diff(want, *got); diff != "" || got.String() != s {
			t.Errorf("%q: is %q: %s", s, got, diff)
		}
	}
	for _, s := range []string{
		"", ":", "*", "5", "*:*", "*:5", "0:", ":0", ":*", "a:b", "0:x", "0-5", "0:5:9", " 0:5", "0: 5", "0:5 ", "+0:5", "0:+5", "-0:*", "0:-0",
		"007:9", "0:09", "1e3:*", "0x1:*", "1_0:*", "0:**", "1.0:2", "٣:*",
		"9223372036854775808:*", "0:9223372036854775808", "-9223372036854775809:*", "0:-9223372036854775809",
		"5:4", "-3:-4", strings.Repeat("9", 10_000) + ":*",
	} {
		if got, err := block.ParseByteRange(s); err == nil {
			t.Errorf("%.20q is accepted as %s", s, got)
		} else if !strings.HasPrefix(err.Error(), "entity-bytes ") {
			t.Errorf("%.20q: error %q does not name the parameter", s, err)
		}
	}
}

// TestResolve holds the forms of the gateway conformance suite and the borders.
func TestResolve(t *testing.T) {
	outside := int64(-1)
	for _, test := range []struct {
		in             string
		size, from, to int64
	}{
		{"0:*", 1000, 0, 1000},
		{"512:*", 1000, 512, 1000},
		{"512:1023", 2000, 512, 1024},
		{"512:1023", 1000, 512, 1000},
		{"512:-256", 1026, 512, 771},
		{"-5:*", 1026, 1021, 1026},
		{"-9999:*", 1026, 0, 1026},
		{"-9999:-3", 1026, 0, 1024},
		{"0:0", 1026, 0, 1},
		{"499:-1000", 5000, 499, 4001},
		{"-1024:*", 5000, 3976, 5000},
		{"999:*", 1000, 999, 1000},
		{"0:-1", 1000, 0, 1000},
		{"-1000:0", 1000, 0, 1},
		{"-5:3", 6, 1, 4},
		{"1000:*", 1000, outside, 0},
		{"5000:-1", 1000, outside, 0},
		{"-9999:-6000", 5000, outside, 0},
		{"499:-1000", 1200, 499, 499}, // ends crossed: an empty range, not one outside
		{"0:-9999", 5000, 0, 0},
		{"-5:3", 1000, 995, 995},
		{"0:*", 0, 0, 0},
		{"5:9", 0, 0, 0},
		{"-5:*", 0, 0, 0},
		{"0:9223372036854775807", 10, 0, 10},
		{"-9223372036854775808:9223372036854775807", 10, 0, 10},
		{"-9223372036854775808:-9223372036854775808", 10, outside, 0},
		{"9223372036854775807:9223372036854775807", math.MaxInt64, outside, 0},
		{"9223372036854775806:9223372036854775807", math.MaxInt64, math.MaxInt64 - 1, math.MaxInt64},
		{"-9223372036854775808:*", math.MaxInt64, 0, math.MaxInt64},
		{"9223372036854775807:-9223372036854775808", 10, outside, 0},
	} {
		r, err := block.ParseByteRange(test.in)
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		from, to, err := r.Resolve(test.size)
		if test.from == outside {
			if !errors.Is(err, block.ErrRange) {
				t.Errorf("%s of %d: [%d, %d), %v; want ErrRange", test.in, test.size, from, to, err)
			}
			continue
		}
		if err != nil || from != test.from || to != test.to {
			t.Errorf("%s of %d: [%d, %d), %v; want [%d, %d)", test.in, test.size, from, to, err, test.from, test.to)
		}
	}
}

// TestResolveAgainstTheSpecification counts the selected bytes one by one, with
// the sentence of the specification: bytes from "from" to "to", both inclusive,
// negative numbers counted from the end.
func TestResolveAgainstTheSpecification(t *testing.T) {
	for size := range int64(7) {
		for from := int64(-9); from < 10; from++ {
			for last := int64(-9); last <= 10; last++ {
				r := block.ByteRange{From: from, To: last, Open: last == 10}
				want := selected(from, map[bool]int64{true: star, false: last}[r.Open], size)
				a, b, err := r.Resolve(size)
				var got []int64
				for i := a; i < b; i++ {
					got = append(got, i)
				}
				if diff := cmp.Diff(want, got); diff != "" || a > b {
					t.Fatalf("%s of %d: [%d, %d), %v: %s", r, size, a, b, err, diff)
				}
				if err != nil && len(want) > 0 {
					t.Fatalf("%s of %d: %v, but bytes %v are inside", r, size, err, want)
				}
			}
		}
	}
}

func selected(from, last, size int64) []int64 {
	var bytes []int64
	at := func(n int64) *big.Int {
		v := big.NewInt(n)
		if n < 0 {
			v.Add(v, big.NewInt(size))
		}
		return v
	}
	for i := range size {
		if pos := big.NewInt(i); pos.Cmp(at(from)) >= 0 && pos.Cmp(at(last)) <= 0 {
			bytes = append(bytes, i)
		}
	}
	return bytes
}

func FuzzParseByteRange(f *testing.F) {
	for _, s := range []string{"0:*", "512:1023", "512:-256", "-5:*", "-9999:-3", "9223372036854775807:-9223372036854775808"} {
		f.Add(s, int64(1026))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		r, err := block.ParseByteRange(s)
		if err != nil {
			return
		}
		if r.String() != s {
			t.Fatalf("%q comes back as %q", s, r)
		}
		if size < 0 {
			return
		}
		from, to, err := r.Resolve(size)
		if err != nil && !errors.Is(err, block.ErrRange) {
			t.Fatalf("error without kind: %v", err)
		}
		if from < 0 || from > to || to > size {
			t.Fatalf("%s of %d: [%d, %d)", r, size, from, to)
		}
	})
}
