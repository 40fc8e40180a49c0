package ipnihttp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/find/model"
	"github.com/mr-tron/base58"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// TestBytes compares with what the types of the peers encode to.
func TestBytes(t *testing.T) {
	m := newMemory()
	mh := hash(t, 1)
	want := model.MultihashResult{Multihash: mh}
	var lines bytes.Buffer
	for n := range byte(3) {
		r := m.add(t, mh, n)
		if n == 2 { // empty fields are left out
			r.ContextID, r.Metadata, r.Provider.Addrs = nil, nil, nil
			m.found[string(mh)][n] = r
		}
		pr := model.ProviderResult{ContextID: r.ContextID, Metadata: r.Metadata, Provider: &r.Provider}
		want.ProviderResults = append(want.ProviderResults, pr)
		if err := json.NewEncoder(&lines).Encode(pr); err != nil {
			t.Fatal(err)
		}
	}
	plain, err := model.MarshalFindResponse(&model.FindResponse{MultihashResults: []model.MultihashResult{want}})
	if err != nil {
		t.Fatal(err)
	}
	key := dhash.SecondHash(mh)
	enc, err := model.MarshalFindResponse(&model.FindResponse{EncryptedMultihashResults: []model.EncryptedMultihashResult{{Multihash: key.Multihash(), EncryptedValueKeys: m.sealed[key]}}})
	if err != nil {
		t.Fatal(err)
	}
	var encLines bytes.Buffer
	for _, k := range m.sealed[key] {
		if err := json.NewEncoder(&encLines).Encode(struct{ EncryptedValueKey []byte }{k}); err != nil {
			t.Fatal(err)
		}
	}
	url := serve(t, ipnihttp.New(m.index(), nil))
	second := key.Multihash()
	for _, c := range []struct{ path, accept, want string }{
		{"/multihash/" + mh.B58String(), "", string(plain)},
		{"/multihash/" + hex.EncodeToString(mh), "*/*", string(plain)},
		{"/cid/" + cid.NewCidV1(cid.Raw, mh).String(), "application/json", string(plain)},
		{"/cid/" + cid.NewCidV0(mh).String(), "application/json", string(plain)},
		{"/cid/" + cid.NewCidV1(cid.DagProtobuf, mh).String(), "application/x-ndjson", lines.String()},
		{"/multihash/" + second.B58String(), "application/json", string(enc)},
		{"/encrypted/multihash/" + second.B58String(), "application/json", string(enc)},
		{"/encrypted/multihash/" + hex.EncodeToString(second), "application/x-ndjson", encLines.String()},
		{"/encrypted/cid/" + cid.NewCidV1(cid.Raw, second).String(), "application/x-ndjson", encLines.String()},
	} {
		res, body, err := ask(t, "GET", url+c.path, c.accept, "")
		if err != nil || res.StatusCode != 200 {
			t.Errorf("%s: %s, %v", c.path, res.Status, err)
		}
		if diff := cmp.Diff(c.want, body); diff != "" {
			t.Errorf("%s as %q: %s", c.path, c.accept, diff)
		}
		h := res.Header
		if h.Get("Vary") != "Accept" || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Cache-Control") != "public, max-age=60" {
			t.Errorf("%s: %v", c.path, h)
		}
		if lines := strings.Contains(c.accept, "ndjson"); lines != (h.Get("Content-Type") == "application/x-ndjson") || lines != (h.Get("X-Content-Type-Options") == "nosniff") {
			t.Errorf("%s: %v", c.path, h)
		}
		head, body, err := ask(t, "HEAD", url+c.path, c.accept, "")
		if err != nil || head.StatusCode != 200 || body != "" || head.Header.Get("Content-Type") != h.Get("Content-Type") {
			t.Errorf("HEAD %s: %s %v, %v", c.path, head.Status, head.Header, err)
		}
	}
}

func TestStatuses(t *testing.T) {
	m := newMemory()
	mh := hash(t, 1)
	r := m.add(t, mh, 1)
	m.providers[ipnitest.ID(9)] = &model.ProviderInfo{Inactive: true}
	vk := dhash.HashValueKey(dhash.ValueKey(r.Provider.ID, r.ContextID))
	url := serve(t, ipnihttp.New(m.index(), &ipnihttp.Options{Version: "v1", MissAge: 5 * time.Second}))
	b58, second := "/multihash/"+mh.B58String(), dhash.SecondHash(mh).Multihash().B58String()
	none := hash(t, 2)
	for _, c := range []struct {
		method, path, accept string
		status               int
		cache, body          string
	}{
		{"GET", b58, "text/html", 406, "no-store", ""},
		{"GET", b58, "application/json;q=0", 406, "no-store", ""},
		{"GET", b58 + "x", "", 400, "no-store", ""},
		{"GET", "/multihash/" + strings.Repeat("z", 10000), "", 400, "no-store", ""},
		{"GET", "/multihash/zz", "", 400, "no-store", ""},
		{"GET", "/cid/zz", "", 400, "no-store", ""},
		{"GET", "/encrypted" + b58, "", 400, "no-store", ""},
		{"GET", "/multihash/" + none.B58String(), "", 404, "public, max-age=5", "no results for query\n"},
		{"GET", "/multihash/" + none.B58String(), "application/x-ndjson", 404, "public, max-age=5", "no results for query\n"},
		{"HEAD", "/multihash/" + none.B58String(), "", 404, "public, max-age=5", ""},
		{"GET", "/encrypted/multihash/" + dhash.SecondHash(none).Multihash().B58String(), "", 404, "public, max-age=5", ""},
		{"GET", "/encrypted/multihash/" + second, "", 200, "public, max-age=60", ""},
		{"GET", "/metadata/" + base58.Encode(vk[:]), "", 200, "public, max-age=60", ""},
		{"GET", "/metadata/" + base58.Encode(make([]byte, 32)), "", 404, "public, max-age=5", ""},
		{"GET", "/metadata/" + base58.Encode(vk[1:]), "", 400, "no-store", ""},
		{"GET", "/providers/" + r.Provider.ID.String(), "", 200, "public, max-age=60", ""},
		{"GET", "/providers/" + ipnitest.ID(8).String(), "", 404, "public, max-age=5", ""},
		{"GET", "/providers/" + ipnitest.ID(9).String(), "", 404, "public, max-age=5", ""},
		{"GET", "/providers/x", "", 400, "no-store", ""},
		{"GET", "/providers", "", 200, "public, max-age=60", ""},
		{"GET", "/providers", "text/html", 406, "no-store", ""},
		{"GET", "/stats", "", 501, "no-store", ""},
		{"GET", "/health", "", 200, "no-cache", "ready v1\n"},
		{"GET", "/ready", "", 200, "no-cache", "ready v1\n"},
		{"GET", "/multihash", "", 405, "no-store", ""},
		{"PUT", b58, "", 405, "no-store", ""},
		{"POST", "/cid/x", "", 405, "no-store", ""},
		{"GET", "/", "", 404, "no-store", ""},
		{"GET", "/multihash/", "", 404, "no-store", ""},
		{"GET", "/multihash/a/b", "", 404, "no-store", ""},
		{"GET", "/encrypted/providers", "", 404, "no-store", ""},
		{"OPTIONS", b58, "", 204, "", ""},
		{"OPTIONS", "/multihash", "", 204, "", ""},
	} {
		res, body, err := ask(t, c.method, url+c.path, c.accept, "")
		h := res.Header
		if err != nil || res.StatusCode != c.status || h.Get("Cache-Control") != c.cache || c.body != "" && body != c.body {
			t.Errorf("%s %.80s: %s, Cache-Control %q, %q, %v", c.method, c.path, res.Status, h.Get("Cache-Control"), body, err)
		}
		if h.Get("Access-Control-Allow-Origin") != "*" || (c.status == 405 || c.status == 204) == (h.Get("Allow") == "") {
			t.Errorf("%s %.80s: %v", c.method, c.path, h)
		}
	}
}

// TestFailureIsNotAbsence is the defect by which scattered lookups tell caches that
// fresh content does not exist.
func TestFailureIsNotAbsence(t *testing.T) {
	m := newMemory()
	mh := hash(t, 1)
	url := serve(t, ipnihttp.New(m.index(), nil))
	for _, c := range []struct {
		err    error
		status int
	}{
		{errors.New("replica is gone"), 502},
		{&fs.PathError{Op: "open", Path: "segment", Err: os.ErrNotExist}, 502}, // a lost file is no lost provider
		{context.DeadlineExceeded, 504},
	} {
		m.err = c.err
		second := dhash.SecondHash(mh).Multihash().B58String()
		for _, path := range []string{"/multihash/" + mh.B58String(), "/encrypted/multihash/" + second, "/multihash/" + second} {
			for _, accept := range []string{"application/json", "application/x-ndjson"} {
				res, body, err := ask(t, "GET", url+path, accept, "")
				if err != nil || res.StatusCode != c.status || res.Header.Get("Cache-Control") != "no-store" || strings.Contains(body, "segment") {
					t.Errorf("%v: %s: %s %v %q, %v", c.err, path, res.Status, res.Header, body, err)
				}
			}
		}
	}
}

// TestCut looks for a failure after the first byte: the answer must not look whole.
func TestCut(t *testing.T) {
	m := newMemory()
	mh := hash(t, 1)
	for range 1000 {
		m.add(t, mh, 1)
	}
	m.err = errors.New("replica is gone")
	url := serve(t, ipnihttp.New(m.index(), nil))
	for _, accept := range []string{"application/json", "application/x-ndjson"} {
		for _, path := range []string{"/multihash/" + mh.B58String(), "/encrypted/multihash/" + dhash.SecondHash(mh).Multihash().B58String()} {
			res, body, err := ask(t, "GET", url+path, accept, "")
			if err == nil || res.StatusCode != 200 || len(body) == 0 {
				t.Errorf("%s as %s: %s, %d bytes, %v", path, accept, res.Status, len(body), err)
			}
		}
		// What is small was not sent yet, and has a status of its own.
		m.found[string(hash(t, 2))] = m.found[string(mh)][:2]
		if res, _, err := ask(t, "GET", url+"/multihash/"+hash(t, 2).B58String(), "application/json", ""); err != nil || res.StatusCode != 502 {
			t.Errorf("small: %s, %v", res.Status, err)
		}
	}
}

// TestFirstLine reads a result before there is another one.
func TestFirstLine(t *testing.T) {
	m := newMemory()
	m.step = make(chan struct{})
	mh := hash(t, 1)
	m.add(t, mh, 1)
	m.add(t, mh, 2)
	m.add(t, mh, 3)
	url := serve(t, ipnihttp.New(m.index(), nil))
	req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/multihash/"+mh.B58String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/x-ndjson")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	for i := range 3 {
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "{") {
			t.Fatalf("line %d: %q, %v", i, line, err)
		}
		if i < 2 {
			m.step <- struct{}{}
		}
	}
}

// paced yields results at moments around those at which lines are sent.
type paced struct{ results []ipni.Result }

func (p paced) Find(_ context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return func(yield func(ipni.Result, error) bool) {
		for i, r := range p.results {
			if n := int(mh[2+i]); n < 128 {
				time.Sleep(time.Duration(n) * 16 * time.Microsecond)
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// TestPacedLines reads many answers at once, whose buffers and timers are used again.
func TestPacedLines(t *testing.T) {
	m := newMemory()
	mh := hash(t, 1)
	for n := range byte(8) {
		m.add(t, mh, n)
	}
	want := m.found[string(mh)]
	url := serve(t, ipnihttp.New(ipnihttp.Index{Finder: paced{want}}, nil))
	var group sync.WaitGroup
	for worker := range 8 {
		c := newClient(t, url, nil)
		group.Go(func() {
			for i := range 50 {
				got, err := collect(c.Find(t.Context(), hash(t, worker*1000+i)))
				if err != nil || !cmp.Equal(got, want, sameResults()) {
					t.Errorf("%d results, %v", len(got), err)
				}
			}
		})
	}
	group.Wait()
}

func TestBatch(t *testing.T) {
	m := newMemory()
	a, b, none := hash(t, 1), hash(t, 2), hash(t, 3)
	m.add(t, a, 1)
	m.add(t, a, 2)
	m.add(t, b, 3)
	url := serve(t, ipnihttp.New(m.index(), &ipnihttp.Options{MaxBatch: 3}))
	request := func(mhs ...[]byte) string {
		data, err := json.Marshal(struct{ Multihashes [][]byte }{mhs})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var plain model.FindResponse
	res, body, _ := ask(t, "POST", url+"/multihash", "", request(a, none, b))
	if err := json.Unmarshal([]byte(body), &plain); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s %q, %v", res.Status, body, err)
	}
	if got := plain.MultihashResults; len(got) != 2 || len(got[0].ProviderResults) != 2 || len(got[1].ProviderResults) != 1 || string(got[1].Multihash) != string(b) {
		t.Errorf("got %s", body)
	}
	_, body, _ = ask(t, "POST", url+"/multihash", "application/x-ndjson", request(a, none, b))
	if lines := strings.Split(strings.TrimSpace(body), "\n"); len(lines) != 2 || json.Unmarshal([]byte(lines[1]), new(model.MultihashResult)) != nil {
		t.Errorf("lines %q", body)
	}
	var enc model.FindResponse
	second := func(n int) []byte { return dhash.SecondHash(hash(t, n)).Multihash() }
	_, body, _ = ask(t, "POST", url+"/encrypted/multihash", "", request(second(1), second(2)))
	if err := json.Unmarshal([]byte(body), &enc); err != nil || len(enc.EncryptedMultihashResults) != 2 {
		t.Errorf("got %s, %v", body, err)
	}
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/multihash", request(none), 404},
		{"/multihash", request(a, a, a, a), 400},
		{"/multihash", request(), 400},
		{"/multihash", request([]byte{1}), 400},
		{"/multihash", "{", 400},
		{"/multihash", `{"Multihashes":["` + strings.Repeat("A", 2<<20), 413},
		{"/encrypted/multihash", request(a), 400},
	} {
		if res, body, _ := ask(t, "POST", url+c.path, "", c.body); res.StatusCode != c.status {
			t.Errorf("%.60s: %s %q, want %d", c.body, res.Status, body, c.status)
		}
	}
	m.err = errors.New("replica is gone")
	if res, _, _ := ask(t, "POST", url+"/multihash", "", request(a, b)); res.StatusCode != 502 {
		t.Errorf("failure: %s", res.Status)
	}
}

func TestCascadeAndDone(t *testing.T) {
	m, other := newMemory(), newMemory()
	mh := hash(t, 1)
	other.add(t, mh, 1)
	var done []ipnihttp.Done
	url := serve(t, ipnihttp.New(m.index(), &ipnihttp.Options{
		Cascade: func(labels []string) ipni.Finder {
			if labels[0] == "ipfs-dht" {
				return other
			}
			return nil
		},
		CascadeLabels: []string{"ipfs-dht", "legacy"},
		Done:          func(_ *http.Request, d ipnihttp.Done) { done = append(done, d) },
	}))
	for query, status := range map[string]int{"?cascade=ipfs-dht": 200, "?cascade=x": 404, "": 404} {
		if res, _, _ := ask(t, "GET", url+"/multihash/"+mh.B58String()+query, "", ""); res.StatusCode != status {
			t.Errorf("%q: %s", query, res.Status)
		}
		if d := done[len(done)-1]; d.Status != status || d.Route != "multihash" || d.Elapsed <= 0 || (d.First > 0) != (status == 200) || (d.Results == 1) != (status == 200) {
			t.Errorf("%q: %+v", query, d)
		}
	}
	if res, _, _ := ask(t, "OPTIONS", url+"/multihash/x", "", ""); res.Header.Get("X-IPNI-Allow-Cascade") != "ipfs-dht, legacy" {
		t.Errorf("OPTIONS: %v", res.Header)
	}
}

func ExampleNew() {
	h := ipnihttp.New(ipnihttp.Index{Sealed: newMemory()}, &ipnihttp.Options{MissAge: 5 * time.Second})
	fmt.Println(h != nil)
	// Output: true
}
