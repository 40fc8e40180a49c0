package gatewaytest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"

	"github.com/hashstream/hashstream/digest"
)

// testBlock is TestTrustlessRaw.
func (s *server) testBlock(t *testing.T) {
	for _, root := range []string{rawDir, rawFile, holedFirst, document} {
		byParameter := s.get(t, "/ipfs/"+root+"?format=raw")
		byHeader := s.get(t, "/ipfs/"+root, "Accept", typeRaw)
		if diff := cmp.Diff(byParameter.body, byHeader.body); diff != "" {
			t.Errorf("%s: format and Accept give different bytes:\n%s", root, diff)
		}
		d, err := digest.Parse(root)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Verify(byParameter.body); err != nil {
			t.Error(err)
		}
		byParameter.expect(t,
			"Content-Type", typeRaw,
			"Content-Length", fmt.Sprint(len(byParameter.body)),
			"Content-Disposition", `attachment; filename="`+root+`.bin"`,
			"X-Content-Type-Options", "nosniff",
			"Etag", `"`+root+`.raw"`,
			"X-Ipfs-Path", "/ipfs/"+root,
			"X-Ipfs-Roots", root,
			"Cache-Control", "public, max-age=29030400, immutable",
			"Accept-Ranges", "bytes",
			"Vary", "",
			"Content-Location", "",
		)
		byHeader.expect(t, "Vary", "Accept", "Content-Location", "/ipfs/"+root+"?format=raw")
	}
	a := s.get(t, "/ipfs/"+rawFile+"?filename=foobar.bin", "Accept", typeRaw)
	a.expect(t, "Content-Disposition", `attachment; filename="foobar.bin"`)
	a = s.get(t, "/ipfs/"+rawFile+"?format=raw&filename=test%D1%82%D0%B5%D1%81%D1%82.pdf")
	a.expect(t, "Content-Disposition", `attachment; filename="test____.pdf"; filename*=UTF-8''test%D1%82%D0%B5%D1%81%D1%82.pdf`)
}

// testRanges is TestTrustlessRawRanges, and more.
func (s *server) testRanges(t *testing.T) {
	const all = rawFileBytes
	size := len(all)
	for _, c := range []struct {
		header       string
		status       int
		body, ranges string
	}{
		{"bytes=7-9", 206, all[7:10], fmt.Sprintf("bytes 7-9/%d", size)},
		{"bytes=7-9,1-3", 200, all, ""},
		{"bytes=-4", 206, all[size-4:], fmt.Sprintf("bytes %d-%d/%d", size-4, size-1, size)},
		{"bytes=-9999", 206, all, fmt.Sprintf("bytes 0-%d/%d", size-1, size)},
		{"bytes=5-", 206, all[5:], fmt.Sprintf("bytes 5-%d/%d", size-1, size)},
		{"bytes=5-99999999999999999999999", 206, all[5:], fmt.Sprintf("bytes 5-%d/%d", size-1, size)},
		{"bytes=9999-", 416, "", fmt.Sprintf("bytes */%d", size)},
		{"bytes=-0", 416, "", fmt.Sprintf("bytes */%d", size)},
		{"bytes=9-7", 200, all, ""},
		{"lines=1-2", 200, all, ""},
		{"bytes", 200, all, ""},
	} {
		a := s.do(t, http.MethodGet, "/ipfs/"+rawFile+"?format=raw", "Range", c.header)
		if a.status != c.status || a.status != 416 && string(a.body) != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.header, a.status, a.body, c.status, c.body)
		}
		a.expect(t, "Content-Range", c.ranges)
	}
	tag := `"` + rawFile + `.raw"`
	for cond, status := range map[string]int{tag: 206, "W/" + tag: 200, `"other"`: 200, "Sat, 29 Oct 1994 19:43:31 GMT": 200} {
		if a := s.do(t, http.MethodGet, "/ipfs/"+rawFile+"?format=raw", "Range", "bytes=0-1", "If-Range", cond); a.status != status {
			t.Errorf("If-Range %s: status %d, want %d", cond, a.status, status)
		}
	}
	if a := s.do(t, http.MethodHead, "/ipfs/"+rawFile+"?format=raw", "Range", "bytes=0-1"); a.status != 200 || a.length != int64(size) {
		t.Errorf("HEAD with Range: status %d, length %d", a.status, a.length)
	}
	if a := s.do(t, http.MethodGet, "/ipfs/"+two+"?format=car", "Range", "bytes=0-1"); a.status != 200 {
		t.Errorf("CAR with Range: status %d, want 200", a.status)
	}
}

// testPrecedence is TestTrustlessCarFormatPrecedence, and weights.
func (s *server) testPrecedence(t *testing.T) {
	const car = typeCAR + "; version=1; order=dfs; dups=n"
	for _, c := range []struct{ query, accept, want string }{
		{"?format=car", typeRaw, car},
		{"?format=raw", typeCAR, typeRaw},
		{"", typeRaw + ";q=0.1, " + typeCAR, car},
		{"", typeRaw + ", " + typeCAR + ";q=0.1", typeRaw},
		{"", typeRaw + ";q=0, application/*", car},
		{"", "text/html, " + typeCAR + ";q=0.2, */*;q=0.1", car},
	} {
		s.get(t, "/ipfs/"+rawDir+c.query, "Accept", c.accept).expect(t, "Content-Type", c.want)
	}
}

func (s *server) testHead(t *testing.T) {
	for _, target := range []string{
		rawFile + "?format=raw", multi + "?format=car", mixed + "/subdir?format=car&dag-scope=entity",
		inlineText + "?format=raw", nowhere + "?format=car", "bafk?format=raw", rawFile,
	} {
		get, head := s.do(t, http.MethodGet, "/ipfs/"+target), s.do(t, http.MethodHead, "/ipfs/"+target)
		get.header.Del("Date")
		head.header.Del("Date")
		if head.header.Get("Content-Length") == "" {
			get.header.Del("Content-Length")
		}
		if diff := cmp.Diff(get.header, head.header); diff != "" || get.status != head.status {
			t.Errorf("%s: HEAD is %d, GET is %d, headers (-GET +HEAD):\n%s", target, head.status, get.status, diff)
		}
		if len(head.body) != 0 {
			t.Errorf("%s: HEAD has a body", target)
		}
	}
}

func (s *server) testNotModified(t *testing.T) {
	for _, target := range []string{rawFile + "?format=raw", multi + "?format=car", inlineText + "?format=car"} {
		first := s.get(t, "/ipfs/"+target)
		tag := first.header.Get("Etag")
		strong := strings.TrimPrefix(tag, "W/")
		for _, list := range []string{tag, strong, "W/" + strong, `"a,b", ` + tag, "*"} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				a := s.do(t, method, "/ipfs/"+target, "If-None-Match", list)
				if a.status != http.StatusNotModified || len(a.body) != 0 {
					t.Errorf("%s %s, If-None-Match %s: status %d, %d bytes", method, target, list, a.status, len(a.body))
				}
				a.expect(t, "Etag", tag, "Cache-Control", first.header.Get("Cache-Control"))
			}
		}
		if a := s.do(t, http.MethodGet, "/ipfs/"+target, "If-None-Match", `"other"`); a.status != http.StatusOK {
			t.Errorf("%s: status %d for another tag", target, a.status)
		}
	}
}

// testTags checks that no two different answers share an entity tag.
func (s *server) testTags(t *testing.T) {
	seen := map[string]string{}
	for _, target := range []string{
		multi + "?format=raw", multi + "?format=car", multi + "?format=car&dag-scope=block", multi + "?format=car&dag-scope=entity",
		multi + "?format=car&entity-bytes=0:0", multi + "?format=car&entity-bytes=0:1", multi + "?format=car&car-dups=y",
		mixed + "?format=car", mixed + "/subdir?format=car", mixed + "/subdir/multiblock.txt?format=car",
	} {
		tag := s.do(t, http.MethodHead, "/ipfs/"+target).header.Get("Etag")
		if other, ok := seen[tag]; ok || tag == "" {
			t.Errorf("%s and %s have the tag %s", target, other, tag)
		}
		seen[tag] = target
	}
}

func (s *server) testRefused(t *testing.T) {
	for _, c := range []struct {
		target  string
		headers []string
		status  int
	}{
		{nowhere + "?format=raw", nil, 404},
		{nowhere + "?format=car", nil, 404},
		{nowhere + "?format=raw", []string{"Cache-Control", "only-if-cached"}, 412},
		{nowhere + "?format=car", []string{"Cache-Control", "max-age=0, only-if-cached"}, 412},
		{two + "/none?format=car", []string{"Cache-Control", "only-if-cached"}, 404},
		{two + "?format=car", []string{"Cache-Control", "only-if-cached"}, 200},
		{two + "/none?format=car", nil, 404},
		{two + "/../subdir?format=car", nil, 404},
		{two + "/subdir%2Fascii.txt?format=car", nil, 404},
		{multi + "?format=car&entity-bytes=5000:6000", nil, 400},
		{multi + "?format=car&entity-bytes=9:", nil, 400},
		{multi + "?format=car&dag-scope=everything", nil, 400},
		{two + "/subdir?format=raw", nil, 400},
		{identity(128) + "?format=raw", nil, 200},
		{identity(129) + "?format=raw", nil, 400},
		{identity(129) + "?format=car", nil, 400},
		{two, nil, 406},
		{two, []string{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, 406},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := s.do(t, method, "/ipfs/"+c.target, c.headers...)
			if a.status != c.status {
				t.Errorf("%s %s %q: status %d, want %d: %s", method, c.target, c.headers, a.status, c.status, a.body)
			}
			if c.status != 200 {
				a.expect(t, "Etag", "", "Cache-Control", "no-store", "Content-Type", "text/plain; charset=utf-8", "Access-Control-Allow-Origin", "*")
			}
		}
	}
}

func (s *server) testProbe(t *testing.T) {
	if a := s.get(t, "/ipfs/bafkqaaa?format=raw"); len(a.body) != 0 || a.length != 0 {
		t.Errorf("raw probe: %d bytes, length %d", len(a.body), a.length)
	}
	if a := s.get(t, "/ipfs/bafkqaaa", "Accept", typeRaw); len(a.body) != 0 {
		t.Errorf("raw probe: %d bytes", len(a.body))
	}
	a := s.get(t, "/ipfs/bafkqaaa?format=car")
	if got := blocks(t, a.body); len(got) != 0 || !strings.Contains(string(a.body), "\x00\x01\x55\x00\x00") {
		t.Errorf("CAR probe: blocks %v, bytes %q", got, a.body)
	}
	if a := s.do(t, http.MethodHead, "/ipfs/bafkqaaa?format=car"); a.status != 200 {
		t.Errorf("HEAD probe: status %d", a.status)
	}
}

// testSpelling asks for one block by many names.
func (s *server) testSpelling(t *testing.T) {
	c := cid.MustParse(rawFile)
	for _, base := range []multibase.Encoding{multibase.Base16, multibase.Base36, multibase.Base58BTC, multibase.Base64url, multibase.Base32Upper} {
		text, err := c.StringOfBase(base)
		if err != nil {
			t.Fatal(err)
		}
		a := s.get(t, "/ipfs/"+text+"?format=raw")
		a.expect(t, "X-Ipfs-Path", "/ipfs/"+text, "Etag", `"`+rawFile+`.raw"`)
		if string(a.body) != rawFileBytes {
			t.Errorf("%s: %q", text, a.body)
		}
	}
	old := s.get(t, "/ipfs/"+holedFirst+"?format=raw")
	same := s.get(t, "/ipfs/"+cid.NewCidV1(cid.DagProtobuf, cid.MustParse(holedFirst).Hash()).String()+"?format=raw")
	if diff := cmp.Diff(old.body, same.body); diff != "" {
		t.Errorf("version 1 of a version 0 CID has other bytes:\n%s", diff)
	}
}
