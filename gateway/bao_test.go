package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/block"
)

func blake3CID(t *testing.T, data string, codec uint64) cid.Cid {
	t.Helper()
	sum, err := multihash.Sum([]byte(data), multihash.BLAKE3, 32)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(codec, sum)
}

// TestProof asks for proofs in all ways, and for other things beside them.
func TestProof(t *testing.T) {
	const media = "application/vnd.hashstream.bao"
	c := blake3CID(t, "blob", cid.Raw)
	text := c.String()
	f := &fake{bodies: map[cid.Cid]block.Body{c: &fakeBody{data: "proof", size: 5, variant: "3-7"}}}
	for _, tt := range []struct {
		query, accept string
		kind          string
		bytes         string // that were asked for
		vary, locate  bool
	}{
		{"?format=bao", "", media, "", false, false},
		{"?format=bao&entity-bytes=10:99", "", media, "10:99", false, false},
		{"?format=bao&entity-bytes=-10:*", "*/*", media, "-10:*", false, false},
		{"?format=bao", typeRaw, media, "", false, true},
		{"", media, media, "", true, true},
		{"?entity-bytes=10:*", media, media, "10:*", true, true},
		{"", "APPLICATION/vnd.Hashstream.bao;q=0.5, text/html", media, "", true, true},
		{"", media + ", application/vnd.ipld.raw;q=0.9", media, "", true, true},
		{"", media + ";q=0.5, application/vnd.ipld.raw", typeRaw, "", true, true},
		{"?format=raw", media, typeRaw, "", false, true},
		{"", "application/*", typeRaw, "", true, true},
		{"", "application/*, application/vnd.ipld.raw;q=0, application/vnd.ipld.car;q=0", "", "", false, false},
		{"", media + ";q=0", "", "", false, false},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := ask(t, f, method, "/ipfs/"+text+tt.query, "Accept", tt.accept)
			h := w.Header()
			if tt.kind == "" {
				if w.Code != http.StatusNotAcceptable {
					t.Errorf("%s %s: status %d", tt.query, tt.accept, w.Code)
				}
				continue
			}
			want := map[string]string{"Content-Type": tt.kind, "Content-Length": "5", "Vary": "", "Accept-Ranges": "bytes", "Etag": `"` + text + `.raw"`}
			if tt.kind == media {
				want["Accept-Ranges"], want["Etag"] = "none", `"`+text+`.bao.3-7"`
				sel := f.asked[len(f.asked)-1]
				if sel.Encoding != block.EncodingBao || (sel.Bytes == nil) != (tt.bytes == "") || sel.Bytes != nil && sel.Bytes.String() != tt.bytes {
					t.Errorf("%s %s: asked for %s %v", tt.query, tt.accept, sel.Encoding, sel.Bytes)
				}
				if !strings.HasSuffix(h.Get("Content-Disposition"), `.bao"`) {
					t.Errorf("disposition %s", h.Get("Content-Disposition"))
				}
			}
			if tt.vary {
				want["Vary"] = "Accept"
			}
			for name, value := range want {
				if h.Get(name) != value {
					t.Errorf("%s %s %s: %s is %q, want %q", method, tt.query, tt.accept, name, h.Get(name), value)
				}
			}
			if located := h.Get("Content-Location") != ""; w.Code != http.StatusOK || located != tt.locate {
				t.Errorf("%s %s: status %d, located %v", tt.query, tt.accept, w.Code, located)
			}
			if got := w.Body.String(); (method == http.MethodGet) != (got == "proof") {
				t.Errorf("%s %s: body %q", method, tt.query, got)
			}
		}
	}
}

// TestProofConditions sends conditions and ranges.
func TestProofConditions(t *testing.T) {
	c := blake3CID(t, "blob", cid.Raw)
	text := c.String()
	f := &fake{bodies: map[cid.Cid]block.Body{c: &fakeBody{data: "proof", size: 5, variant: "3-7"}}}
	for _, tt := range []struct {
		header, value string
		status        int
	}{
		{"If-None-Match", `"` + text + `.bao.3-7"`, http.StatusNotModified},
		{"If-None-Match", `"` + text + `.bao.3-8"`, http.StatusOK},
		{"If-None-Match", `"` + text + `.raw"`, http.StatusOK},
		{"If-Match", `"` + text + `.bao.3-7"`, http.StatusOK},
		{"If-Match", `"` + text + `.raw"`, http.StatusPreconditionFailed},
		{"Range", "bytes=1-2", http.StatusOK},
		{"Range", "bytes=99-", http.StatusOK},
	} {
		w := ask(t, f, http.MethodGet, "/ipfs/"+text+"?format=bao", tt.header, tt.value)
		if w.Code != tt.status || w.Code == http.StatusOK && w.Body.String() != "proof" {
			t.Errorf("%s %s: status %d, %q", tt.header, tt.value, w.Code, w.Body)
		}
	}
}

// TestProofRefused asks for what has no proof. Nobody is asked for it.
func TestProofRefused(t *testing.T) {
	short, err := multihash.Sum([]byte("blob"), multihash.BLAKE3, 16)
	if err != nil {
		t.Fatal(err)
	}
	raw := blake3CID(t, "blob", cid.Raw).String()
	for target, status := range map[string]int{
		rawCID("blob").String():                            http.StatusNotAcceptable,
		blake3CID(t, "blob", cid.DagProtobuf).String():     http.StatusNotAcceptable,
		cid.NewCidV1(cid.Raw, short).String():              http.StatusNotAcceptable,
		"bafkqaaa":                                         http.StatusNotAcceptable,
		raw + "/path":                                      http.StatusBadRequest,
		raw + "?entity-bytes=5:1":                          http.StatusBadRequest,
		raw + "?entity-bytes=1-5":                          http.StatusBadRequest,
		raw + "?entity-bytes=99999999999999999999999999:*": http.StatusBadRequest,
	} {
		for _, byHeader := range []bool{false, true} {
			f := &fake{}
			accept := ""
			if url := "/ipfs/" + target; byHeader {
				accept = typeBao
				if w := ask(t, f, http.MethodGet, url, "Accept", accept); w.Code != status {
					t.Errorf("%s by header: status %d, want %d", target, w.Code, status)
				}
			} else {
				sep := "?"
				if strings.Contains(target, "?") {
					sep = "&"
				}
				if w := ask(t, f, http.MethodGet, url+sep+"format=bao"); w.Code != status {
					t.Errorf("%s: status %d, want %d", target, w.Code, status)
				}
			}
			if len(f.asked) > 0 {
				t.Errorf("%s was looked for", target)
			}
		}
	}
	w := ask(t, &fake{}, http.MethodGet, "/ipfs/"+raw+"?format=bao")
	if w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("absent: status %d", w.Code)
	}
}
