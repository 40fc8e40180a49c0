package fetch_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/fetch"
)

// FuzzSession feeds a session arbitrary bytes as a CAR stream: whatever it hands
// out must be what was asked for.
func FuzzSession(f *testing.F) {
	fix := newFixture(f, random(600, 100), 100)
	sel := block.Selection{Root: fix.file, Scope: block.ScopeAll}
	blocks := fix.walk(f, sel)
	good := encode(fix.file, blocks)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(encode(fix.file, shuffle(blocks)))
	f.Add(encode(fix.file, flipOne(blocks)))
	f.Add([]byte("\x0a\xa1gversion\x02"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		c, err := fetch.New([]string{"http://x"}, &fetch.Options{Buffer: 4 << 10, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("format") == "raw" {
				return response(404, bytes.NewReader(nil)), nil
			}
			return response(200, bytes.NewReader(stream)), nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Open(t.Context(), sel)
		if err != nil {
			return
		}
		defer s.Close()
		for d, want := range fix.mem {
			for b, err := range s.Blocks(t.Context(), d) {
				if err == nil && !bytes.Equal(b.Data, want.Data) {
					t.Fatalf("%s: handed out %x, want %x", d, b.Data, want.Data)
				}
			}
		}
	})
}
