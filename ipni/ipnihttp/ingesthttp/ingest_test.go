package ingesthttp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/announce/httpsender"
	"github.com/ipni/go-libipni/announce/message"
	"github.com/ipni/go-libipni/ingest/client"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// ingest remembers what it is told.
type ingest struct {
	mu        sync.Mutex // held by Announce, which some call twice at once
	ad        cid.Cid
	publisher peer.AddrInfo
	announced int
	record    *peer.PeerRecord
	err       error
	statuses  []ingesthttp.PublisherStatus
	ads       map[cid.Cid]ingesthttp.AdStatus
}

func (i *ingest) Announce(_ context.Context, c cid.Cid, p peer.AddrInfo) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ad, i.publisher = c, p
	i.announced++
	return i.err
}

func (i *ingest) Register(_ context.Context, r *peer.PeerRecord) error {
	i.record = r
	return i.err
}

func (i *ingest) Publishers(_ context.Context, only peer.ID) (out []ingesthttp.PublisherStatus, _ error) {
	for _, s := range i.statuses {
		if only == "" || s.Publisher.ID == only {
			out = append(out, s)
		}
	}
	return out, i.err
}

func (i *ingest) Ad(_ context.Context, c cid.Cid) (ingesthttp.AdStatus, error) {
	if s, ok := i.ads[c]; ok {
		return s, i.err
	}
	return ingesthttp.AdStatus{State: ingesthttp.Unknown}, i.err
}

func adCID(tb testing.TB, codec uint64, text string) cid.Cid {
	tb.Helper()
	c, err := cid.V1Builder{Codec: codec, MhType: 0x12}.Sum([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func serve(tb testing.TB, h http.Handler) string {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return s.URL
}

func ask(tb testing.TB, method, url string, header map[string]string, body string) (*http.Response, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res, string(data)
}

// TestPeerSenders announces by the senders of the peers, and by ours.
func TestPeerSenders(t *testing.T) {
	_, id := ipnitest.Key(1)
	in := &ingest{}
	base := serve(t, ingesthttp.New(in, nil))
	addr := multiaddr.StringCast("/ip4/192.0.2.1/tcp/3104/http")
	c := adCID(t, cid.DagJSON, "ad")
	m := message.Message{Cid: c}
	m.SetAddrs([]multiaddr.Multiaddr{addr})
	sender := func(path string) *httpsender.Sender {
		u, err := url.Parse(base + path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := httpsender.New([]*url.URL{u}, id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	whole, err := client.New(base)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ingesthttp.NewAnnouncer([]string{base, base + "/ingest/announce"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	publisher := peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{addr}}
	for name, send := range map[string]func() error{
		"CBOR":       func() error { return sender("").Send(t.Context(), m) },
		"deprecated": func() error { return sender("/ingest/announce").Send(t.Context(), m) },
		"JSON":       func() error { return sender("").SendJson(t.Context(), m) },
		"client":     func() error { return whole.Announce(t.Context(), &publisher, c) },
		"own":        func() error { return own.Announce(t.Context(), c, publisher) },
	} {
		in.ad, in.publisher = cid.Undef, peer.AddrInfo{}
		if err := send(); err != nil || in.ad != c || in.publisher.ID != id || len(in.publisher.Addrs) != 1 || !in.publisher.Addrs[0].Equal(addr) {
			t.Errorf("%s: %s of %v, %v", name, in.ad, in.publisher, err)
		}
	}
}

func TestAnnounce(t *testing.T) {
	_, id := ipnitest.Key(1)
	_, other := ipnitest.Key(2)
	in := &ingest{}
	base := serve(t, ingesthttp.New(in, nil))
	body := func(addrs ...string) string {
		m := message.Message{Cid: adCID(t, cid.DagJSON, "ad")}
		for _, a := range addrs {
			m.Addrs = append(m.Addrs, multiaddr.StringCast(a).Bytes())
		}
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	good := body("/ip4/192.0.2.1/tcp/1/p2p/" + id.String())
	for _, c := range []struct {
		body   string
		err    error
		status int
	}{
		{good, nil, 204},
		{good, fmt.Errorf("policy: %w", fs.ErrPermission), 403},
		{good, fmt.Errorf("ingest: %w", wire.ErrBusy), 429},
		{good, fs.ErrInvalid, 400},
		{good, errors.New("disk on fire"), 500},
		{body(), nil, 400},
		{body("/ip4/192.0.2.1/tcp/1"), nil, 400},
		{body("/ip4/192.0.2.1/tcp/1/p2p/"+id.String(), "/ip4/192.0.2.1/tcp/1/p2p/"+other.String()), nil, 400},
		{"{", nil, 400},
		{"", nil, 400},
		{strings.Repeat(" ", 2<<20), nil, 413},
	} {
		in.err = c.err
		before := in.announced
		res, text := ask(t, "PUT", base+"/announce", map[string]string{"Content-Type": "application/json; charset=utf-8"}, c.body)
		if res.StatusCode != c.status || (in.announced > before) != (c.err != nil || c.status == 204) {
			t.Errorf("%.60s: %s %q, want %d", c.body, res.Status, text, c.status)
		}
		if (c.status == 429) != (res.Header.Get("Retry-After") != "") || strings.Contains(text, "fire") {
			t.Errorf("%.60s: %v %q", c.body, res.Header, text)
		}
	}
	in.err = nil
	if res, _ := ask(t, "PUT", base+"/announce", nil, "garbage"); res.StatusCode != 400 {
		t.Errorf("CBOR: %s", res.Status)
	}
	if res, _ := ask(t, "POST", base+"/announce", nil, good); res.StatusCode != 405 || res.Header.Get("Allow") != "PUT, OPTIONS" {
		t.Errorf("POST: %s", res.Status)
	}
}

func TestAnnouncerErrors(t *testing.T) {
	_, id := ipnitest.Key(1)
	bad := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	in := &ingest{}
	a, err := ingesthttp.NewAnnouncer([]string{bad, serve(t, ingesthttp.New(in, nil))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	publisher := peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/192.0.2.1/tcp/1")}}
	if err := a.Announce(t.Context(), adCID(t, cid.DagJSON, "ad"), publisher); !errors.Is(err, fs.ErrPermission) || in.announced != 1 {
		t.Errorf("%d announced, %v", in.announced, err)
	}
	if err := a.Announce(t.Context(), adCID(t, cid.DagJSON, "ad"), peer.AddrInfo{ID: id}); err == nil || in.announced != 1 {
		t.Error("announced without an address")
	}
	if _, err := ingesthttp.NewAnnouncer([]string{"ftp://x"}, nil); err == nil {
		t.Error("announces by ftp")
	}
}

func TestRegister(t *testing.T) {
	k, id := ipnitest.Key(1)
	_, other := ipnitest.Key(2)
	in := &ingest{}
	base := serve(t, ingesthttp.New(in, &ingesthttp.Options{Registrar: in}))
	c, err := client.New(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Register(t.Context(), id, k, []string{"/ip4/192.0.2.1/tcp/1"}); err != nil || in.record.PeerID != id || in.record.Seq == 0 || len(in.record.Addrs) != 1 {
		t.Errorf("%v, %v", in.record, err)
	}
	in.record = nil
	if err := c.Register(t.Context(), other, k, []string{"/ip4/192.0.2.1/tcp/1"}); err == nil || in.record != nil {
		t.Error("one peer registered another")
	}
	for body, status := range map[string]int{"": 400, "garbage": 400, strings.Repeat("x", 2<<20): 413} {
		if res, _ := ask(t, "POST", base+"/register", nil, body); res.StatusCode != status {
			t.Errorf("%.10s: %s", body, res.Status)
		}
	}
	if res, _ := ask(t, "POST", serve(t, ingesthttp.New(in, nil))+"/register", nil, "x"); res.StatusCode != 501 {
		t.Errorf("no registrar: %s", res.Status)
	}
}

func TestAdStatus(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 891_000, time.UTC)
	c := adCID(t, cid.DagJSON, "ad")
	in := &ingest{ads: map[cid.Cid]ingesthttp.AdStatus{}}
	base := serve(t, ingesthttp.New(in, nil)) + "/sync/status/ad"
	for _, x := range []struct {
		s    ingesthttp.AdStatus
		want string
	}{
		{ingesthttp.AdStatus{State: ingesthttp.Unknown}, `{"Ad":"%s","Indexed":false,"State":"unknown","Frozen":false}`},
		{ingesthttp.AdStatus{State: ingesthttp.Pending, Time: at, Reason: "announced"}, `{"Ad":"%s","Indexed":false,"State":"pending","Reason":"announced","Frozen":false}`},
		{ingesthttp.AdStatus{State: ingesthttp.Indexed, Time: at}, `{"Ad":"%s","Indexed":true,"IndexedTime":"2026-03-04T05:06:07.000891Z","State":"indexed","Frozen":false}`},
		{ingesthttp.AdStatus{State: ingesthttp.Indexed}, `{"Ad":"%s","Indexed":true,"State":"indexed","Frozen":false}`},
		{ingesthttp.AdStatus{State: ingesthttp.Indexed, Frozen: true, Time: at}, `{"Ad":"%s","Indexed":false,"State":"indexed","Frozen":true}`},
		{ingesthttp.AdStatus{State: ingesthttp.Skipped, Reason: "decodeErr", Time: at}, `{"Ad":"%s","Indexed":false,"State":"skipped","Reason":"decodeErr","SkipReason":"decodeErr","SkippedTime":"2026-03-04T05:06:07.000891Z","Frozen":false}`},
		{ingesthttp.AdStatus{State: ingesthttp.Resyncing}, `{"Ad":"%s","Indexed":false,"State":"resyncing","Frozen":false}`},
	} {
		in.ads[c] = x.s
		res, body := ask(t, "GET", base+"/"+c.String(), nil, "")
		if want := fmt.Sprintf(x.want, c); res.StatusCode != 200 || body != want || res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%+v: %s %s", x.s, res.Status, cmp.Diff(want, body))
		}
	}
	if res, _ := ask(t, "GET", base+"/"+adCID(t, cid.DagCBOR, "ad").String(), nil, ""); res.StatusCode != 200 {
		t.Errorf("dag-cbor: %s", res.Status)
	}
	raw := adCID(t, cid.Raw, "content")
	for _, name := range []string{raw.String(), cid.NewCidV0(raw.Hash()).String(), "not-a-cid", "", strings.Repeat("b", 5000)} {
		if res, body := ask(t, "GET", base+"/"+name, nil, ""); res.StatusCode != 400 || name == raw.String() && !strings.Contains(body, "/cid/") {
			t.Errorf("%.20s: %s %q", name, res.Status, body)
		}
	}
	_, body := ask(t, "POST", base, nil, `{"Ads":["`+c.String()+`","x","`+raw.String()+`"]}`)
	var batch struct {
		Statuses []struct {
			Ad, State, Error string
		}
	}
	if err := json.Unmarshal([]byte(body), &batch); err != nil || len(batch.Statuses) != 3 || batch.Statuses[0].State != "resyncing" || batch.Statuses[1].Error == "" || batch.Statuses[2].State != "" {
		t.Errorf("%s, %v", body, err)
	}
	many := `{"Ads":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 129), ",") + `]}`
	for body, status := range map[string]int{many: 400, `{"Ads":[]}`: 400, "{": 400, strings.Repeat(" ", 2<<20): 413} {
		if res, _ := ask(t, "POST", base, nil, body); res.StatusCode != status {
			t.Errorf("%.20s: %s", body, res.Status)
		}
	}
	in.err = fs.ErrNotExist // of a state that is lost
	for _, x := range []struct{ method, path, body string }{{"GET", "/" + c.String(), ""}, {"POST", "", `{"Ads":["` + c.String() + `"]}`}} {
		if res, _ := ask(t, x.method, base+x.path, nil, x.body); res.StatusCode != 502 {
			t.Errorf("%s: failure: %s", x.method, res.Status)
		}
	}
	if res, _ := ask(t, "OPTIONS", base+"/x", nil, ""); res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Methods") == "" {
		t.Errorf("OPTIONS: %s", res.Status)
	}
}

func TestPublisherStatus(t *testing.T) {
	_, id := ipnitest.Key(1)
	_, other := ipnitest.Key(2)
	in := &ingest{}
	base := serve(t, ingesthttp.New(in, &ingesthttp.Options{Version: "v1"}))
	if res, _ := ask(t, "GET", base+"/sync/status", nil, ""); res.StatusCode != 204 {
		t.Errorf("none: %s", res.Status)
	}
	head := adCID(t, cid.DagJSON, "head")
	in.statuses = []ingesthttp.PublisherStatus{{Publisher: peer.AddrInfo{ID: id}, Head: head, Ads: 5, Lag: 3, Active: true, Error: "timeout", Multihashes: 100}, {Publisher: peer.AddrInfo{ID: other}}}
	type status struct {
		Head, LastError string
		Lag             int
		Processing      struct {
			AdsLeft, AdsTotal int
			Ongoing           bool
		}
		Download struct{ MultihashCount int }
	}
	var all map[string]status
	_, body := ask(t, "GET", base+"/sync/status", nil, "")
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all) != 2 {
		t.Fatalf("%s, %v", body, err)
	}
	if s := all[id.String()]; s.Head != head.String() || s.Lag != 3 || s.Processing.AdsTotal != 8 || s.Processing.AdsLeft != 3 || !s.Processing.Ongoing || s.Download.MultihashCount != 100 || s.LastError != "timeout" {
		t.Errorf("%s", body)
	}
	var one status
	_, body = ask(t, "GET", base+"/sync/status/"+id.String(), nil, "")
	if err := json.Unmarshal([]byte(body), &one); err != nil || one != all[id.String()] {
		t.Errorf("%s, %v", body, err)
	}
	_, unknown := ipnitest.Key(3)
	for name, code := range map[string]int{unknown.String(): 204, "x": 400} {
		if res, _ := ask(t, "GET", base+"/sync/status/"+name, nil, ""); res.StatusCode != code {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
	if res, body := ask(t, "GET", base+"/health", nil, ""); res.StatusCode != 200 || body != "ready v1\n" {
		t.Errorf("health: %s %q", res.Status, body)
	}
	if res, _ := ask(t, "GET", base+"/sync/statusx", nil, ""); res.StatusCode != 404 {
		t.Errorf("no route: %s", res.Status)
	}
}

func TestAdmin(t *testing.T) {
	_, id := ipnitest.Key(1)
	_, other := ipnitest.Key(2)
	var said []string
	say := func(format string, args ...any) error {
		said = append(said, fmt.Sprintf(format, args...))
		return nil
	}
	onPeer := func(what string) func(context.Context, peer.ID) error {
		return func(_ context.Context, id peer.ID) error { return say("%s %s", what, id) }
	}
	base := serve(t, ingesthttp.NewAdmin(ingesthttp.Admin{
		Sync: func(_ context.Context, s ingesthttp.Sync) error {
			if s.Depth == 13 {
				return fs.ErrExist
			}
			return say("sync %s %v %d %v", s.Publisher.ID, s.Publisher.Addrs, s.Depth, s.Resync)
		},
		Syncing: func(context.Context) ([]peer.ID, error) { return []peer.ID{id}, nil },
		Allow:   onPeer("allow"), Block: onPeer("block"), Assign: onPeer("assign"),
		Unassign: func(context.Context, peer.ID) error { return fs.ErrNotExist },
		Freeze:   func(context.Context) error { return say("freeze") },
		Unfreeze: func(context.Context) error { return say("unfreeze") },
		Status: func(context.Context) (ingesthttp.NodeStatus, error) {
			return ingesthttp.NodeStatus{Frozen: true, ID: id, Usage: 42.5}, nil
		},
		RemoveProvider:  func(_ context.Context, id peer.ID, block bool) error { return say("remove %s %v", id, block) },
		ImportProviders: func(_ context.Context, u *url.URL) error { return say("import %s", u) },
		Handoff: func(_ context.Context, p, frozen peer.ID, u *url.URL) error {
			return say("handoff %s %s %s", p, frozen, u)
		},
		Assigned: func(context.Context) ([]ingesthttp.Assignment, error) {
			return []ingesthttp.Assignment{{Publisher: id}}, nil
		},
		Preferred:     func(context.Context) ([]peer.ID, error) { return nil, nil },
		MarkProcessed: func(_ context.Context, p peer.ID, c cid.Cid) error { return say("mark %s %s", p, c) },
	}, nil))
	c := adCID(t, cid.DagJSON, "ad")
	from := base64.StdEncoding.EncodeToString([]byte("http://other.example:3000"))
	for _, x := range []struct {
		method, path, body string
		status             int
		said, text         string
	}{
		{"POST", "/ingest/sync/" + id.String() + "?depth=7&resync=true", `"/ip4/192.0.2.1/tcp/1/http"`, 202, "sync " + id.String() + " [/ip4/192.0.2.1/tcp/1/http] 7 true", ""},
		{"POST", "/ingest/sync/" + id.String(), "", 202, "sync " + id.String() + " [] 0 false", ""},
		{"POST", "/ingest/sync/" + id.String() + "?depth=13", "", 409, "", ""},
		{"POST", "/ingest/sync/" + id.String() + "?depth=-1", "", 202, "sync " + id.String() + " [] 0 false", ""},
		{"POST", "/ingest/sync/" + id.String() + "?depth=-2", "", 400, "", ""},
		{"POST", "/ingest/sync/" + id.String() + "?resync=x", "", 400, "", ""},
		{"POST", "/ingest/sync/" + id.String(), "{", 400, "", ""},
		{"POST", "/ingest/sync/x", "", 400, "", ""},
		{"GET", "/ingest/sync", "", 200, "", `["` + id.String() + `"]`},
		{"GET", "/ingest/sync/", "", 200, "", `["` + id.String() + `"]`},
		{"PUT", "/ingest/allow/" + id.String(), "", 200, "allow " + id.String(), ""},
		{"PUT", "/ingest/block/" + id.String(), "", 200, "block " + id.String(), ""},
		{"GET", "/ingest/block/" + id.String(), "", 405, "", ""},
		{"POST", "/ingest/assign/" + id.String(), "", 200, "assign " + id.String(), ""},
		{"PUT", "/ingest/unassign/" + id.String(), "", 404, "", ""},
		{"PUT", "/ingest/allow/x", "", 400, "", ""},
		{"PUT", "/freeze", "", 200, "freeze", ""},
		{"PUT", "/unfreeze", "", 200, "unfreeze", ""},
		{"GET", "/status", "", 200, "", `{"Frozen":true,"ID":"` + id.String() + `","Usage":42.5}`},
		{"DELETE", "/removeprovider/" + id.String() + "?block=true", "", 200, "remove " + id.String() + " true", ""},
		{"DELETE", "/removeprovider/" + id.String() + "?block=x", "", 400, "", ""},
		{"POST", "/importproviders", `{"indexer":"` + from + `"}`, 200, "import http://other.example:3000", ""},
		{"POST", "/importproviders", `{}`, 400, "", ""},
		{"POST", "/importproviders", `{"indexer":"` + base64.StdEncoding.EncodeToString([]byte("file:///etc/passwd")) + `"}`, 400, "", ""},
		{"POST", "/ingest/handoff/" + id.String(), `{"FrozenID":"` + other.String() + `","FrozenURL":"http://f.example"}`, 200, "handoff " + id.String() + " " + other.String() + " http://f.example", ""},
		{"POST", "/ingest/handoff/" + id.String(), ``, 400, "", ""},
		{"GET", "/ingest/assigned", "", 200, "", `[{"Publisher":"` + id.String() + `"}]`},
		{"GET", "/ingest/preferred", "", 204, "", ""},
		{"PUT", "/markadprocessed/" + id.String() + "?cid=" + c.String(), "", 200, "mark " + id.String() + " " + c.String(), ""},
		{"PUT", "/markadprocessed/" + id.String(), "", 400, "", ""},
		{"GET", "/healthcheck", "", 501, "", ""},
		{"GET", "/x", "", 404, "", ""},
		{"PUT", "/freeze/now", "", 404, "", ""},
		{"PUT", "/ingest/allow", "", 404, "", ""},
	} {
		said = nil
		res, text := ask(t, x.method, base+x.path, nil, x.body)
		if res.StatusCode != x.status || strings.Join(said, ";") != x.said || x.text != "" && text != x.text {
			t.Errorf("%s %s: %s %q, said %q", x.method, x.path, res.Status, text, said)
		}
	}
	// A page in the operator's browser.
	said = nil
	if res, _ := ask(t, "POST", base+"/ingest/assign/"+id.String(), map[string]string{"Sec-Fetch-Site": "cross-site"}, ""); res.StatusCode != 403 || said != nil {
		t.Errorf("from another site: %s", res.Status)
	}
}

// FuzzRegister wants no envelope that is not signed by whom it speaks of.
func FuzzRegister(f *testing.F) {
	k, id := ipnitest.Key(1)
	var sent []byte
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent, _ = io.ReadAll(r.Body) }))
	defer s.Close()
	c, err := client.New(s.URL)
	if err != nil {
		f.Fatal(err)
	}
	if err := c.Register(f.Context(), id, k, []string{"/ip4/192.0.2.1/tcp/1"}); err != nil {
		f.Fatal(err)
	}
	f.Add(sent)
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &ingest{}
		w := httptest.NewRecorder()
		ingesthttp.New(in, &ingesthttp.Options{Registrar: in}).ServeHTTP(w, httptest.NewRequest("POST", "/register", bytes.NewReader(data)))
		if in.record != nil && in.record.PeerID != id || w.Code != 200 && w.Code != 400 {
			t.Fatalf("%d: %v", w.Code, in.record)
		}
	})
}

func ExampleNewAnnouncer() {
	a, err := ingesthttp.NewAnnouncer([]string{"https://indexer.example"}, nil)
	if err != nil {
		panic(err)
	}
	defer a.Close()
	publisher, err := peer.Decode("12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt")
	if err != nil {
		panic(err)
	}
	ad := cid.MustParse("baguqeeraa5mjufqdwzgafkqxmllc4hwzd4qcjqzj4tnaswgvazawepoqwzqa")
	fmt.Println(a.Announce(context.Background(), ad, peer.AddrInfo{ID: publisher}))
	// Output: ingesthttp: announce baguqeeraa5mjufqdwzgafkqxmllc4hwzd4qcjqzj4tnaswgvazawepoqwzqa: the publisher has no address
}
