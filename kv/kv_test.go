package kv_test

import (
	"bytes"
	"testing"

	"github.com/hashstream/hashstream/kv"
)

func FuzzPrefix(f *testing.F) {
	for _, s := range []string{"", "a", "a\xff", "\xff", "\xff\xff", "\xfe\xff"} {
		f.Add([]byte(s), []byte(s+"x"))
		f.Add([]byte(s), []byte(s))
	}
	f.Fuzz(func(t *testing.T, p, key []byte) {
		before := bytes.Clone(p)
		r := kv.Prefix(p)
		in := bytes.Compare(key, r.From) >= 0 && (r.To == nil || bytes.Compare(key, r.To) < 0)
		if in != bytes.HasPrefix(key, p) || !bytes.Equal(p, before) {
			t.Errorf("Prefix(%x) = %x to %x: contains %x is %v", p, r.From, r.To, key, in)
		}
	})
}
