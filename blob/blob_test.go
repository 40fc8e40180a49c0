package blob_test

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
)

func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", ".", "..", "a/../b", "/a", "a/", "a//b", "\x00", "\xff", "ü/é"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		valid := key != "" && utf8.ValidString(key) && !strings.Contains(key, "\x00")
		for s := range strings.SplitSeq(key, "/") {
			valid = valid && s != "" && s != "." && s != ".."
		}
		if err := blob.CheckKey(key); (err == nil) != valid || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("CheckKey(%q) = %v, want valid %v", key, err, valid)
		}
	})
}

func TestRead(t *testing.T) {
	s := memblob.New()
	if err := s.Put(t.Context(), "k", strings.NewReader("0123456789")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		off, n int64
		want   string
		err    error
	}{
		{0, 10, "0123456789", nil}, {3, 2, "34", nil}, {10, 0, "", nil},
		{3, 8, "", io.ErrUnexpectedEOF}, {10, 1, "", io.ErrUnexpectedEOF}, {11, 1, "", blob.ErrRange},
	} {
		if b, err := blob.Read(t.Context(), s, "k", c.off, c.n); string(b) != c.want || !errors.Is(err, c.err) {
			t.Errorf("Read(%d, %d) = %q, %v, want %q, %v", c.off, c.n, b, err, c.want, c.err)
		}
	}
}
