package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

func TestRefused(t *testing.T) {
	f, c := one("data", whole("data"))
	for _, x := range []struct {
		method, target string
		headers        []string
		status         int
	}{
		{"POST", "/ipfs/" + c, nil, 405},
		{"PUT", "/anything", nil, 405},
		{"GET", "/", nil, 404},
		{"GET", "/ipfs", nil, 400},
		{"GET", "/ipfs/", nil, 400},
		{"GET", "/ipfsx/" + c, nil, 404},
		{"GET", "/ipfs/notacid?format=raw", nil, 400},
		{"GET", "/ipfs/" + strings.Repeat("b", 3000) + "?format=raw", nil, 400},
		{"GET", "/ipfs/" + c + "?format=raw&x=" + strings.Repeat("y", 9000), nil, 414},
		{"GET", "/ipfs/" + c + strings.Repeat("/a", 200) + "?format=car", nil, 400},
		{"GET", "/ipfs/" + c + "?format=%zz", nil, 400},
		{"GET", "/ipfs/" + c + "/x?format=raw", nil, 400},
		{"GET", "/ipfs/" + c, nil, 406},
		{"GET", "/ipfs/" + c + "/photo.jpg", []string{"Accept", "image/avif,image/webp,*/*"}, 406},
		{"GET", "/ipfs/" + c + "?format=raw&filename=" + strings.Repeat("y", 300), nil, 400},
		{"GET", "/ipfs/" + c + "?format=raw", []string{"If-Match", `"other"`}, 412},
		{"GET", "/ipfs/" + c + "?format=raw", []string{"Service-Worker", "script"}, 400},
		{"GET", "/ipfs/" + cid.NewCidV1(cid.Raw, append([]byte{0, 0x81, 1}, make([]byte, 129)...)).String() + "?format=raw", nil, 400},
		{"GET", "/ipns/name?format=ipns-record", nil, 404},
		{"GET", "/ipns/name", []string{"Accept", typeRecord}, 404},
		{"GET", "/ipns/name", nil, 406},
		{"GET", "/ipns/name?format=car", nil, 406},
		{"GET", "/ipns/name/path?format=ipns-record", nil, 400},
		{"GET", "/ipns/", nil, 400},
		{"GET", "/.well-known/other", nil, 404},
	} {
		w := ask(t, f, x.method, x.target, x.headers...)
		if w.Code != x.status {
			t.Errorf("%s %.100s: status %d, want %d: %s", x.method, x.target, w.Code, x.status, w.Body)
		}
		want := http.Header{
			"Cache-Control":                 {"no-store"},
			"Content-Type":                  {"text/plain; charset=utf-8"},
			"X-Content-Type-Options":        {"nosniff"},
			"Content-Length":                {fmt.Sprint(w.Body.Len())},
			"Access-Control-Allow-Origin":   {"*"},
			"Access-Control-Allow-Methods":  {corsMethods},
			"Access-Control-Allow-Headers":  {corsAllow},
			"Access-Control-Expose-Headers": {corsExpose},
		}
		if x.status == 405 {
			want["Allow"] = []string{"GET, HEAD, OPTIONS"}
		}
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("%s %.100s (-want +got):\n%s", x.method, x.target, diff)
		}
		if text := w.Body.String(); strings.Count(text, "\n") != 1 || len(text) < 20 || len(text) > 400 {
			t.Errorf("%.100s: %q is not one sentence", x.target, text)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	for _, x := range []struct {
		err    error
		status int
		retry  string
	}{
		{fmt.Errorf("x: %w", fs.ErrNotExist), 404, ""},
		{fmt.Errorf("x: %w", block.ErrNotLink), 501, ""},
		{fmt.Errorf("x: %w", block.ErrRange), 400, ""},
		{fmt.Errorf("x: %w", digest.ErrUnsupported), 400, ""},
		{fmt.Errorf("x: %w", digest.ErrMismatch), 500, ""},
		{errors.New("/secret/path: disk on fire"), 500, ""},
		{ErrBusy, 503, "1"},
	} {
		f, c := one("data", nil)
		f.err = x.err
		w := ask(t, f, "GET", "/ipfs/"+c+"?format=car")
		if w.Code != x.status || w.Header().Get("Retry-After") != x.retry || w.Header().Get("Etag") != "" {
			t.Errorf("%v: status %d, headers %v", x.err, w.Code, w.Header())
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: told to strangers: %s", x.err, w.Body)
		}
	}
}

func TestSelection(t *testing.T) {
	f, c := one("data", whole("data"))
	root := rawCID("data")
	for _, x := range []struct {
		target string
		want   block.Selection
	}{
		{"?format=raw", block.Selection{Scope: block.ScopeBlock, Encoding: block.EncodingRaw}},
		{"?format=raw&dag-scope=what&entity-bytes=ever", block.Selection{Scope: block.ScopeBlock, Encoding: block.EncodingRaw}},
		{"?format=car", block.Selection{Scope: block.ScopeAll, Encoding: block.EncodingCAR}},
		{"/a/b%2Fc?format=car&dag-scope=block&car-dups=y", block.Selection{Path: []string{"a", "b/c"}, Scope: block.ScopeBlock, Dups: true, Encoding: block.EncodingCAR}},
		{"?format=car&dag-scope=all&entity-bytes=3:-1", block.Selection{Scope: block.ScopeEntity, Bytes: &block.ByteRange{From: 3, To: -1}, Encoding: block.EncodingCAR}},
		{"?format=car&entity-bytes=0:%2A&dag%2Dscope=entity", block.Selection{Scope: block.ScopeEntity, Bytes: &block.ByteRange{Open: true}, Encoding: block.EncodingCAR}},
	} {
		f.asked = nil
		if w := ask(t, f, "HEAD", "/ipfs/"+c+x.target); w.Code != 200 {
			t.Fatalf("%s: status %d", x.target, w.Code)
		}
		x.want.Root = root
		if diff := cmp.Diff([]block.Selection{x.want}, f.asked, cmp.Comparer(func(a, b block.Selection) bool {
			return fmt.Sprint(a.Bytes) == fmt.Sprint(b.Bytes) && a.Root == b.Root && fmt.Sprint(a.Path) == fmt.Sprint(b.Path) &&
				a.Scope == b.Scope && a.Dups == b.Dups && a.Encoding == b.Encoding
		})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.target, diff)
		}
	}
}

// TestEtag checks that whatever changes the bytes of a CAR changes its tag, and
// that it is strong only if the body vouches for its bytes and knows their number.
func TestEtag(t *testing.T) {
	tag := func(body *fakeBody, target string) string {
		f, c := one("data", body)
		return ask(t, f, "HEAD", "/ipfs/"+c+target).Header().Get("Etag")
	}
	vouched := &fakeBody{data: "car", size: 3, variant: "v"}
	seen := map[string]string{}
	for _, target := range []string{
		"?format=raw", "?format=car", "?format=car&car-dups=y", "?format=car&dag-scope=entity", "?format=car&dag-scope=block",
		"?format=car&entity-bytes=0:*", "?format=car&entity-bytes=0:1", "/a/b?format=car", "/a%2Fb?format=car", "/ab?format=car",
	} {
		got := tag(vouched, target)
		if !strings.HasPrefix(got, `"`) || seen[got] != "" {
			t.Errorf("%s: tag %s, as %s", target, got, seen[got])
		}
		seen[got] = target
	}
	if tag(vouched, "?format=car") == tag(&fakeBody{data: "car", size: 3, variant: "w"}, "?format=car") {
		t.Error("the tag leaves out the variant")
	}
	for _, weak := range []*fakeBody{{data: "car", size: -1, variant: "v"}, {data: "car", size: 3}} {
		if got := tag(weak, "?format=car"); !strings.HasPrefix(got, `W/"`) {
			t.Errorf("nobody vouches for %s", got)
		}
	}
	if tag(vouched, "?format=car") != tag(vouched, "?car-order=unk&format=car&car-version=1&car-dups=n") {
		t.Error("equal answers have different tags")
	}
}

func TestHeadAndConditionsSendNothing(t *testing.T) {
	body := whole("data")
	f, c := one("data", body)
	w := ask(t, f, "HEAD", "/ipfs/"+c+"?format=raw")
	if w.Code != 200 || w.Header().Get("Content-Length") != "4" || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d, %v", w.Code, w.Header())
	}
	w = ask(t, f, "GET", "/ipfs/"+c, "Accept", typeRaw, "If-None-Match", `W/"`+c+`.raw"`)
	if w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("If-None-Match: %d", w.Code)
	}
	for name, want := range map[string]string{
		"Etag": `"` + c + `.raw"`, "Cache-Control": immutable, "Vary": "Accept",
		"Content-Location": "/ipfs/" + c + "?format=raw", "Content-Type": "", "Content-Length": "", "Access-Control-Allow-Origin": "*",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("304: %s is %q, want %q", name, got, want)
		}
	}
	ask(t, f, "GET", "/ipfs/"+c+"?format=raw", "Range", "bytes=9-")
	if w := ask(t, f, "HEAD", "/ipfs/"+c+"?format=raw", "Range", "bytes=9-"); w.Code != 200 {
		t.Errorf("HEAD knows no ranges: %d", w.Code)
	}
	if w := ask(t, f, "HEAD", "/ipfs/"+c+"/?format=raw", "Service-Worker", "script"); w.Code != 200 {
		t.Errorf("a service worker below a root: %d", w.Code)
	}
	if body.sends != 0 {
		t.Errorf("the body was sent %d times", body.sends)
	}
	// A condition is about what is there: absence comes first.
	if w := ask(t, &fake{}, "GET", "/ipfs/"+c+"?format=raw", "If-None-Match", "*"); w.Code != 404 {
		t.Errorf("If-None-Match on what is absent: %d", w.Code)
	}
}

func TestContentLocation(t *testing.T) {
	f, c := one("data", whole("data"))
	for query, want := range map[string]string{
		"":                             "?format=car&car-version=1&car-order=dfs&car-dups=n",
		"?dag-scope=block":             "?dag-scope=block&format=car&car-version=1&car-order=dfs&car-dups=n",
		"?car-dups=y&entity-bytes=0:1": "?entity-bytes=0:1&format=car&car-version=1&car-order=dfs&car-dups=y",
		"?format=&filename=%22é":       "?filename=%22%C3%A9&format=car&car-version=1&car-order=dfs&car-dups=n",
	} {
		w := ask(t, f, "HEAD", "/ipfs/"+c+"/a%2Fb"+query, "Accept", typeCAR)
		if got := w.Header().Get("Content-Location"); got != "/ipfs/"+c+"/a%2Fb"+want {
			t.Errorf("%s: %s", query, got)
		}
	}
	w := ask(t, f, "HEAD", "/ipfs/"+c+"?format=car", "Accept", "*/*")
	if w.Header().Get("Content-Location") != "" || w.Header().Get("Vary") != "" {
		t.Errorf("Accept had no say: %v", w.Header())
	}
}

// TestSpelling: what is not the canonical text is answered, and its canonical text
// is in the headers.
func TestSpelling(t *testing.T) {
	f, c := one("data", whole("data"))
	last := c[:len(c)-1] + string(c[len(c)-1]+1) // other bits after the last byte
	for _, text := range []string{c, strings.ToUpper(c), last} {
		w := ask(t, f, "HEAD", "/ipfs/"+text+"?format=raw")
		if w.Code == 400 && text == last {
			continue // refusing it is fine, too
		}
		if w.Code != 200 || w.Header().Get("Etag") != `"`+c+`.raw"` || w.Header().Get("X-Ipfs-Roots") != c || w.Header().Get("X-Ipfs-Path") != "/ipfs/"+text {
			t.Errorf("%s: %d %v", text, w.Code, w.Header())
		}
	}
}

func TestPreflight(t *testing.T) {
	w := ask(t, &fake{}, "OPTIONS", "/ipfs/bafkqabtimvwgy3yk/", "Origin", "https://example.net", "Access-Control-Request-Method", "GET")
	want := http.Header{
		"Allow": {corsMethods}, "Access-Control-Max-Age": {"86400"}, "Access-Control-Allow-Origin": {"*"},
		"Access-Control-Allow-Methods": {corsMethods}, "Access-Control-Allow-Headers": {corsAllow}, "Access-Control-Expose-Headers": {corsExpose},
	}
	if diff := cmp.Diff(want, w.Header()); w.Code != 204 || diff != "" {
		t.Errorf("status %d (-want +got):\n%s", w.Code, diff)
	}
}

func TestManifest(t *testing.T) {
	w := ask(t, &fake{}, "GET", "/.well-known/libp2p/protocols")
	if w.Code != 200 || w.Body.String() != `{"protocols":{"/ipfs/gateway":{"path":"/"}}}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if w := ask(t, &fake{}, "HEAD", "/.well-known/libp2p/protocols"); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d %s", w.Code, w.Body)
	}
}

func TestInlineAsksNobody(t *testing.T) {
	f := &fake{}
	for _, target := range []string{"bafkqaaa?format=raw", "bafkqaaa?format=car", "bafkqabtimvwgy3yk?format=raw", "bafkqabtimvwgy3yk?format=car&entity-bytes=0:2"} {
		if w := ask(t, f, "GET", "/ipfs/"+target); w.Code != 200 {
			t.Errorf("%s: status %d", target, w.Code)
		}
	}
	if w := ask(t, f, "GET", "/ipfs/bafkqabtimvwgy3yk?format=raw", "Range", "bytes=1-2"); w.Code != 206 || w.Body.String() != "el" {
		t.Errorf("range: %d %q", w.Code, w.Body)
	}
	if len(f.asked) != 0 {
		t.Errorf("asked for %v", f.asked)
	}
	// An identity CID with links is a root like any other.
	ask(t, f, "GET", "/ipfs/"+"bafyqaaa"+"?format=car")
	if len(f.asked) != 1 {
		t.Errorf("asked %d times for a dag-pb identity", len(f.asked))
	}
}

func TestHandlerKeepsForeignHeaders(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "7")
	New(&fake{}, nil).ServeHTTP(w, httptest.NewRequest("GET", "/ipfs/"+rawCID("x").String()+"?format=raw", nil))
	if w.Code != 404 || w.Header().Get("X-Request-Id") != "7" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
