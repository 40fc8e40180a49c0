package ipnihttp

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/accept"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/jsonappend"
	"github.com/ipni/go-libipni/find/model"
)

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		accept []string
		want   form
	}{
		{nil, formJSON},
		{[]string{"*/*"}, formJSON},
		{[]string{"application/*"}, formJSON},
		{[]string{"application/json"}, formJSON},
		{[]string{"application/json; charset=utf-8"}, formJSON},
		{[]string{"application/x-ndjson"}, formLines},
		{[]string{"Application/X-NDJSON"}, formLines},
		{[]string{"application/x-ndjson, */*"}, formLines}, // peers that prefer JSON say JSON
		{[]string{"*/*, application/x-ndjson"}, formLines},
		{[]string{"application/json", "application/x-ndjson"}, formLines},
		{[]string{"application/x-ndjson;q=0.5, application/json"}, formJSON}, // peers ignore weights
		{[]string{"application/x-ndjson;q=0.5, application/json;q=0.4"}, formLines},
		{[]string{"application/x-ndjson;q=0, */*"}, formJSON},
		{[]string{"application/x-ndjson;q=0.1, */*;q=0.9"}, formJSON},
		{[]string{"application/json;q=0, */*;q=0.1"}, formLines},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, formJSON},
		{[]string{";;;, application/json"}, formJSON},
		{[]string{"application/json;q=7"}, formNone},
		{[]string{"text/html"}, formNone},
		{[]string{";;;;"}, formNone},
		{[]string{""}, formNone},
		{[]string{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}, formJSON}, // Java
		{[]string{strings.Repeat("text/html,", accept.MaxRanges-1) + "application/json"}, formJSON},
		{[]string{"application/json" + strings.Repeat(", text/html", accept.MaxRanges)}, formNone},
	} {
		if got := negotiate(c.accept); got != c.want {
			t.Errorf("%q: %d, want %d", c.accept, got, c.want)
		}
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add("application/x-ndjson;q=0.5, */*")
	f.Fuzz(func(t *testing.T, accept string) {
		if got := negotiate([]string{accept}); got > formLines {
			t.Fatal(got)
		}
	})
}

// FuzzResult checks that what is understood is what the peers' type understands, and is
// encoded to what decodes to the same.
func FuzzResult(f *testing.F) {
	f.Add([]byte(`{"ContextID":"AQ==","Metadata":"gBI=","Provider":{"ID":"12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt","Addrs":["/ip4/192.0.2.1/tcp/1"]}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeResult(line)
		if err != nil {
			return
		}
		var want model.ProviderResult
		if err := json.Unmarshal(line, &want); err == nil && (!bytes.Equal(want.ContextID, r.ContextID) || want.Provider.ID != r.Provider.ID) {
			t.Fatalf("%s: %v, not %v", line, r, want)
		}
		again, err := decodeResult(appendResult(nil, r))
		if err != nil || string(appendResult(nil, again)) != string(appendResult(nil, r)) {
			t.Fatalf("%s: %v", line, err)
		}
	})
}

// FuzzValueKey compares the quick way with encoding/json.
func FuzzValueKey(f *testing.F) {
	f.Add(appendKeyLine(nil, make([]byte, 102)))
	f.Add(jsonappend.Base64(nil, make([]byte, 102)))
	f.Add(bytes.Replace(appendKeyLine(nil, make([]byte, 102)), []byte("AA"), []byte("A\rA"), 1))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := decodeValueKey(line)
		if err != nil {
			return
		}
		want, err := decodeAny(line)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %x, not %x, %v", line, got, want, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("/encrypted/multihash/x")
	h := New(Index{}, nil)
	f.Fuzz(func(t *testing.T, path string) {
		parse(path)
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%q: %d", path, w.Code)
		}
	})
}

// discard is a writer that costs nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func BenchmarkHandler(b *testing.B) {
	mh := dhash.Key{1}.Multihash()
	for name, n := range map[string]int{"miss": 0, "hit": 1, "hit10": 10} {
		keys := make([][]byte, n)
		for i := range keys {
			keys[i] = make([]byte, 102)
		}
		h := New(Index{Sealed: sealed(keys)}, nil)
		for accept, typ := range map[string]string{"json": typeJSON, "lines": typeLines} {
			b.Run(name+"/"+accept, func(b *testing.B) {
				r := httptest.NewRequest("GET", "/encrypted/multihash/"+mh.B58String(), nil)
				r.Header.Set("Accept", typ)
				w := &discard{http.Header{}}
				b.ReportAllocs()
				for b.Loop() {
					clear(w.header)
					h.ServeHTTP(w, r)
				}
			})
		}
	}
}

var _ ipni.SealedReader = sealed(nil)
