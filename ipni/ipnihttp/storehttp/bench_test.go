package storehttp_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// sinkhole takes everything, and keeps nothing.
type sinkhole struct{ *memory }

func (sinkhole) PutSealed(context.Context, ipni.SealedGroup, valuestore.Records) error { return nil }

// BenchmarkPut is what a handler costs beside its store.
func BenchmarkPut(b *testing.B) {
	h := storehttp.New(sinkhole{newMemory()}, &storehttp.Options{Authorize: everybody})
	all := records(10_000)
	var document bytes.Buffer
	for e := range all.All() {
		document.WriteString(strings.TrimSuffix(strings.TrimPrefix(merge(e.Key, string(e.Value)), `{"merges":[`), `]}`) + ",")
	}
	text := `{"merges":[` + strings.TrimSuffix(document.String(), ",") + `]}`
	small := merge(dhash.Key{1}, strings.Repeat("x", 102))
	for _, c := range []struct{ name, media, body string }{
		{"json", "application/json", text},
		{"small", "application/json", small},
		{"frames", storehttp.MediaType, string(frames(b, storehttp.Frame{Kind: storehttp.Values, Group: group(1), Records: all}))},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPut, "/encrypted/multihash", strings.NewReader(c.body))
				r.Header.Set("Content-Type", c.media)
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != http.StatusAccepted {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
