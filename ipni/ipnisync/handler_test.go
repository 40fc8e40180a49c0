package ipnisync_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/dagsync/ipnisync/head"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

func TestHandler(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 1)
	chain.Put(cid.MustParse("bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"), []byte{0xa0})
	s := newServer(t, ipnisync.Handler(chain, key, &ipnisync.HandlerOptions{Topic: "/topic"}))
	block := "/" + chain.Tip().String()
	etag := `"` + chain.Tip().String() + `"`
	for _, c := range []struct {
		path   string
		header []string
		status int
	}{
		{"/head", nil, 200},
		{ipnisync.Path + "/head", nil, 200},
		{"/head", []string{"If-None-Match", etag}, 304},
		{"/head", []string{"If-None-Match", `"other"`}, 200},
		{block, nil, 200},
		{ipnisync.Path + block, nil, 200},
		{ipnisync.Path + block, []string{"If-None-Match", etag}, 304},
		{"/bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua", nil, 200},
		{"/baguqeeraeamgczd3tueogro5k5lqqd5p27icrebnogur35ajulgck4tqxb4q", nil, 404},
		{"/nothing", nil, 400},
		{"/z" + strings.Repeat("2", 10_000), nil, 400},
		{"/", nil, 404},
		{ipnisync.Path, nil, 404},
		{"/other" + block, nil, 404},
	} {
		res, data := get(t, s.URL+c.path, c.header...)
		if res.StatusCode != c.status {
			t.Errorf("%.80s: %d, want %d", c.path, res.StatusCode, c.status)
		}
		immutable := strings.Contains(res.Header.Get("Cache-Control"), "immutable")
		if isHead := strings.HasSuffix(c.path, "/head"); c.status < 400 && immutable == isHead {
			t.Errorf("%s: Cache-Control %q", c.path, res.Header.Get("Cache-Control"))
		}
		if c.status == 404 && immutable {
			t.Errorf("%s: absence is for ever", c.path)
		}
		if strings.HasSuffix(c.path, block) && c.status == 200 && (string(data) != string(chain.Blocks()[chain.Tip()]) || res.Header.Get("Etag") != etag) {
			t.Errorf("%s: %s %q", c.path, data, res.Header.Get("Etag"))
		}
	}
	_, data := get(t, s.URL+"/head")
	signed, err := head.Decode(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	if signer, err := signed.Validate(); err != nil || signer != id || *signed.Topic != "/topic" || signed.Head.String() != chain.Tip().String() {
		t.Errorf("%v by %s, %v", signed, signer, err)
	}
	for method, want := range map[string]int{http.MethodHead: 200, http.MethodPut: 405, http.MethodPost: 405} {
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/head", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", method, res.StatusCode, want)
		}
	}
}

// A new head is signed anew, and served by the same handler.
func TestHeadMoves(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 0)
	s := newServer(t, ipnisync.Handler(chain, key, nil))
	if res, data := get(t, s.URL+"/head"); res.StatusCode != http.StatusNoContent || len(data) > 0 {
		t.Errorf("without a head: %d %q", res.StatusCode, data)
	}
	c := newClient(t, id, ipnisync.Options{}, s.URL)
	for range 3 {
		want := chain.Grow(t, 1).Tip()
		if got, err := c.Head(t.Context()); err != nil || got != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}

func TestHandlerFails(t *testing.T) {
	key, _ := ipnitest.Key(1)
	chain := newChain(t, 1)
	chain.Fail(errors.New("secret"))
	s := newServer(t, ipnisync.Handler(chain, key, nil))
	for _, path := range []string{"/head", "/" + chain.Tip().String()} {
		if res, data := get(t, s.URL+path); res.StatusCode != 500 || strings.Contains(string(data), "secret") || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q %v", path, res.StatusCode, data, res.Header)
		}
	}
}

// FuzzHandler wants no panic and no path to anything but head and blocks.
func FuzzHandler(f *testing.F) {
	key, _ := ipnitest.Key(1)
	chain := newChain(f, 1)
	h := ipnisync.Handler(chain, key, nil)
	for _, path := range []string{"/head", ipnisync.Path + "/head", "/" + chain.Tip().String(), "//", "/../head"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path = path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		name := path[strings.LastIndexByte(path, '/')+1:]
		if _, err := cid.Decode(name); w.Code == http.StatusOK && name != "head" && err != nil {
			t.Errorf("%q: %d", path, w.Code)
		}
	})
}

func Example() {
	// A publisher with an empty chain, and who reads it.
	key, _ := ipnitest.Key(1)
	var publisher ipni.Chain = ipnitest.NewChain(key)
	s := httptest.NewServer(ipnisync.Handler(publisher, nil, nil))
	defer s.Close()
	port := s.URL[strings.LastIndexByte(s.URL, ':')+1:]
	id, err := peer.Decode("12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt")
	if err != nil {
		fmt.Println(err)
		return
	}
	a := multiaddr.StringCast("/ip4/127.0.0.1/tcp/" + port + "/http")
	c, err := ipnisync.New(peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{a}}, &ipnisync.Options{AllowPrivate: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	_, err = c.Head(context.Background())
	fmt.Println(err)
	// Output: ipnisync: head of 12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt: file does not exist
}
