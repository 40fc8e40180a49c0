package pgkv

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/hashstream/hashstream/kv"
)

// 50,000 records are few statements, and a large value stands alone.
func TestCalls(t *testing.T) {
	s := &Store{sql: newStatements("t")}
	var many, large, mixed []kv.Op
	for i := range 50_000 {
		many = append(many, kv.Put(fmt.Appendf(nil, "%070d", 50_000-i), []byte("0123456789")))
	}
	for i := range 10 {
		large = append(large, kv.Put([]byte{byte(i)}, make([]byte, statementBytes/2)))
	}
	for i := range 1000 {
		mixed = append(mixed, kv.Op{Kind: kv.Kind(i % 2), Key: fmt.Append(nil, i)})
	}
	for name, c := range map[string]struct {
		ops  []kv.Op
		want int
	}{
		"many": {many, 5}, "large": {large, 10}, "mixed": {mixed, 2}, "range between": {append(mixed[:9:9], kv.DeleteRange(kv.Range{From: []byte("2"), To: []byte("3")})), 5},
		"twice": {append(many[:1:1], many[0]), 1}, "covered": {append(many[:10:10], kv.DeleteRange(kv.Range{To: []byte("9")})), 1},
		"empty range": {[]kv.Op{kv.DeleteRange(kv.Range{From: []byte("b"), To: []byte("a")})}, 0},
	} {
		calls := s.calls(c.ops)
		if len(calls) != c.want {
			t.Errorf("%s: %d statements, want %d", name, len(calls), c.want)
		}
		for _, c := range calls {
			if c.size > statementBytes+kv.MaxKey {
				t.Errorf("%s: a statement of %d bytes", name, c.size)
			}
		}
	}
}

func FuzzRanges(f *testing.F) {
	f.Add([]byte("acdfbe"), byte('b'))
	f.Add([]byte("adbcxa"), byte('d'))
	f.Add([]byte("abbccd"), byte('c'))
	f.Fuzz(func(t *testing.T, bounds []byte, key byte) {
		var s ranges
		want := false
		for ; len(bounds) > 1; bounds = bounds[2:] {
			from, to := bounds[0], bounds[1]
			s = s.add([]byte{from}, []byte{to})
			want = want || from <= key && key < to
		}
		if got := s.contain([]byte{key}); got != want {
			t.Errorf("%q contain %q: %v", s, key, got)
		}
		for i, r := range s {
			if bytes.Compare(r.From, r.To) >= 0 || i > 0 && bytes.Compare(s[i-1].To, r.From) >= 0 {
				t.Errorf("%q are not sorted and apart", s)
			}
		}
	})
}
