package gateway

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

func FuzzAccept(f *testing.F) {
	for _, s := range []string{"*/*", typeCAR + ";q=0.5, " + typeRaw, `a/b;c="d\",e";q=0`, ";;,,=", typeCAR + ";version=1;order=dfs;dups=y"} {
		f.Add(s, "format=car&car-dups=y")
	}
	f.Fuzz(func(t *testing.T, accept, query string) {
		p, err := parseParams(query)
		if err != nil {
			return
		}
		c, err := negotiate(&p, []string{accept}, false)
		if status := StatusOf(err); status != 200 && status != 400 && status != 406 {
			t.Fatalf("status %d", status)
		}
		if err != nil {
			return
		}
		where := contentLocation("/ipfs/x", query, c.variant)
		u, err := url.Parse(where)
		if !httpguts.ValidHeaderFieldValue(where) || err != nil {
			t.Fatalf("Content-Location %q: %v", where, err)
		}
		// What it names gives the same answer without the Accept header.
		again, err := parseParams(u.RawQuery)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := negotiate(&again, nil, false); err != nil || same.variant != c.variant {
			t.Fatalf("%q gives %+v, %v; want %+v", where, same, err, c)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/ipfs/bafkqaaa", "/ipfs/QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk/a%2Fb//c", "/%69pfs/x", "//", "/ipfs/%00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.ParseRequestURI(text)
		if err != nil {
			return
		}
		p, err := parsePath(u, 16)
		if err != nil {
			if StatusOf(err) != http.StatusBadRequest {
				t.Fatal(err)
			}
			return
		}
		if len(p.segments) > 16 {
			t.Fatalf("%d segments", len(p.segments))
		}
		for _, s := range p.segments {
			if s == "" || !utf8.ValidString(s) || strings.Contains(s, "\x00") {
				t.Fatalf("segment %q", s)
			}
		}
		if !httpguts.ValidHeaderFieldValue(u.EscapedPath()) {
			t.Fatalf("X-Ipfs-Path %q", u.EscapedPath())
		}
		if c, text, err := parseCID(p.key); err == nil && text != c.String() {
			t.Fatalf("%q is %s, said to be %s", p.key, c, text)
		}
	})
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=0-1", int64(10))
	f.Add("bytes=-5", int64(3))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		size = max(size, -size, 0)
		s, ok, err := parseSpan(header, size)
		if ok && (err != nil || s.off < 0 || s.n <= 0 || s.off > size-s.n) {
			t.Fatalf("%q of %d: %+v, %v", header, size, s, err)
		}
	})
}

func FuzzFilename(f *testing.F) {
	for _, s := range []string{"a.txt", `q"\.car`, "тест", "a\r\nb: c", "..", "\u202e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		value, err := disposition(name, "fallback.car")
		if err != nil {
			return
		}
		kind, params, err := mime.ParseMediaType(value)
		if !httpguts.ValidHeaderFieldValue(value) || err != nil || kind != "attachment" {
			t.Fatalf("%q: %q: %v", name, value, err)
		}
		got := params["filename"]
		if got == "" || strings.ContainsAny(got, "/\\\r\n\x00") {
			t.Fatalf("%q: file name %q", name, got)
		}
	})
}

func FuzzTags(f *testing.F) {
	f.Add(`"a", W/"b"`)
	f.Fuzz(func(t *testing.T, list string) {
		strong := matchesTag([]string{list}, `"a"`, false)
		if weak := matchesTag([]string{list}, `"a"`, true); strong && !weak {
			t.Fatalf("%q matches strongly but not weakly", list)
		}
	})
}
