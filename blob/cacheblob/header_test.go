package cacheblob

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"github.com/hashstream/hashstream/blob"
)

func headers() []header {
	return []header{
		{store: "s", page: 3, payload: 100, info: blob.Info{Key: "a/b", Size: 1 << 40, ModTime: time.Unix(1, 2).UTC(), Version: `"v"`, Identity: `"i"`}},
		{payload: 1},
		{store: strings.Repeat("s", maxString), payload: maxPageSize, page: 1<<63 - 1, sum: [32]byte{1}, info: blob.Info{
			Key: strings.Repeat("k", maxString), Size: 1<<63 - 1, Version: strings.Repeat("v", maxString), Identity: strings.Repeat("i", maxString),
		}},
	}
}

func TestHeader(t *testing.T) {
	for _, h := range headers() {
		b := h.append(nil)
		got, err := parseHeader(b)
		if diff := cmp.Diff(h, got, cmp.AllowUnexported(header{})); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
		if len(b) > maxHeader {
			t.Errorf("%d bytes", len(b))
		}
		if len(b) > 1000 {
			continue
		}
		for i := range b { // every bit counts
			c := bytes.Clone(b)
			c[i] ^= 4
			if _, err := parseHeader(c); err == nil {
				t.Errorf("byte %d may change", i)
			}
			if _, err := parseHeader(b[:i]); err == nil {
				t.Errorf("%d bytes of %d suffice", i, len(b))
			}
		}
	}
}

// sign makes the sum of a header right.
func sign(b []byte) []byte {
	body := b[:len(b)-sumSize]
	sum := blake3.Sum256(body)
	return append(bytes.Clone(body), sum[:sumSize]...)
}

func FuzzParseHeader(f *testing.F) {
	for _, h := range headers() {
		f.Add(h.append(nil))
	}
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil { // with the right sum, more gets through
			if n, err := headerLen(b); err == nil && n <= len(b) {
				b = sign(b[:n])
				h, err = parseHeader(b)
				if err != nil {
					return
				}
			} else {
				return
			}
		}
		if again := h.append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x becomes %x", b, again)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	f.Add(id{}.path())
	f.Add("ab/cd")
	f.Add(strings.ToUpper(id{0xab}.path()))
	f.Fuzz(func(t *testing.T, p string) {
		if at, ok := parsePath(p); ok && at.path() != p {
			t.Errorf("%q is %q", p, at.path())
		}
	})
}
