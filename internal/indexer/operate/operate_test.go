package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/internal/indexer/operate"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

const token = "a secret"

// fixture is an ingester that is operated, with publishers in memory.
type fixture struct {
	t        *testing.T
	state    kv.Store
	store    *store.Store
	registry *registry.Registry
	ingester *ingest.Ingester
	operator *operate.Operator
	node     operate.Node
	chains   sync.Map // of ipni.Chain by peer.ID
	url      string
	imported string
}

// start runs a node; adjust changes how it is operated.
func start(t *testing.T, listed bool, adjust func(*operate.Node)) *fixture {
	t.Helper()
	f := &fixture{t: t, state: memkv.New()}
	var err error
	if f.store, err = store.Open(t.Context(), kvstore.New(memkv.New()), memkv.New(), nil); err != nil {
		t.Fatal(err)
	}
	f.registry = registry.New(f.state)
	open := func(_ context.Context, p peer.AddrInfo) (ipni.Chain, error) {
		if c, ok := f.chains.Load(p.ID); ok {
			return c.(ipni.Chain), nil
		}
		return nil, errors.New("no such publisher")
	}
	f.ingester = ingest.New(f.state, f.store, f.registry, open, &ingest.Options{Policy: &policy.Options{DenyByDefault: listed}})
	f.node = operate.Node{
		ID: ipnitest.ID(9), Ingester: f.ingester, Registry: f.registry, State: f.state, Listed: listed,
		Owns: func(peer.ID) bool { return true }, Usage: func() (float64, bool) { return 12.5, true },
		Follow: f.ingester.Announce,
		Import: func(_ context.Context, indexer string) error { f.imported = indexer; return nil },
	}
	if adjust != nil {
		adjust(&f.node)
	}
	f.operator = operate.New(f.node)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- f.ingester.Run(ctx) }()
	go func() { done <- f.operator.Run(ctx) }()
	srv := httptest.NewServer(f.operator.Handler(token))
	f.url = srv.URL
	t.Cleanup(func() {
		srv.Close()
		cancel()
		<-done
		<-done
	})
	return f
}

// ask sends a request that shows the token, and returns the answer.
func (f *fixture) ask(method, path, body string) (int, string) {
	f.t.Helper()
	return f.send(method, path, body, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
}

func (f *fixture) send(method, path, body string, adjust func(*http.Request)) (int, string) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	adjust(r)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(text))
}

// want asks, and checks the status and a part of the answer.
func (f *fixture) want(method, path, body string, code int, text string) {
	f.t.Helper()
	if got, answer := f.ask(method, path, body); got != code || !strings.Contains(answer, text) {
		f.t.Errorf("%s %s: %d %s, want %d %s", method, path, got, answer, code, text)
	}
}

// eventually waits until is is true.
func (f *fixture) eventually(what string, is func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("did not happen: %s", what)
		}
	}
}

const addr = "/ip4/8.8.8.8/tcp/80/http"

// publish adds a publisher with advertisements of one multihash each, and returns them, the oldest first.
func (f *fixture) publish(n byte, ads int) (peer.AddrInfo, []cid.Cid) {
	f.t.Helper()
	key, id := ipnitest.Key(n)
	c := ipnitest.NewChain(key)
	f.chains.Store(id, c)
	var all []cid.Cid
	a := multiaddr.StringCast(addr)
	for i := range ads {
		all = append(all, c.Add(f.t, ad.Ad{Addrs: []multiaddr.Multiaddr{a}, ContextID: fmt.Append(nil, i), Metadata: []byte("\x80\x12"), Entries: c.Entries(f.t, 1, ipnitest.Hash(int(n)*100+i))}))
	}
	return peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{a}}, all
}

// has reports whether a multihash of publish is in the index.
func (f *fixture) has(n byte, i int) bool {
	for _, err := range f.store.Contexts(f.t.Context(), multihash.Multihash(ipnitest.Hash(int(n)*100+i))) {
		return err == nil
	}
	return false
}

// sync reads the chain of a publisher by the admin API.
func (f *fixture) sync(p peer.AddrInfo, query string) {
	f.t.Helper()
	f.want("POST", "/ingest/sync/"+p.ID.String()+query, `"`+addr+`"`, 202, "")
	f.eventually("a sync ends", func() bool { _, busy := f.ask("GET", "/ingest/sync", ""); return busy == "[]" })
}

// TestToken answers nothing without the token, whatever is asked.
func TestToken(t *testing.T) {
	f := start(t, false, nil)
	id := ipnitest.ID(1).String()
	paths := []string{"PUT /freeze", "GET /status", "PUT /ingest/allow/" + id, "GET /ingest/assigned", "DELETE /removeprovider/" + id, "GET /nothing"}
	for name, show := range map[string]func(*http.Request){
		"none": func(*http.Request) {}, "wrong": func(r *http.Request) { r.Header.Set("Authorization", "Bearer a secret!") },
		"empty": func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, "wrong password": func(r *http.Request) { r.SetBasicAuth(token, "x") },
		"in the URL": func(r *http.Request) { r.URL.RawQuery = "token=" + url.QueryEscape(token) },
	} {
		for _, x := range paths {
			method, path, _ := strings.Cut(x, " ")
			if code, body := f.send(method, path, "", show); code != 401 || strings.Contains(body, token) {
				t.Errorf("%s, %s: %d %s", name, x, code, body)
			}
		}
	}
	if f.ingester.Frozen() || len(f.ingester.Rules()) > 0 {
		t.Error("somebody without a token changed something")
	}
	f.want("PUT", "/freeze", "", 200, "")
	if code, _ := f.send("PUT", "/unfreeze", "", func(r *http.Request) { r.SetBasicAuth("assigner", token) }); code != 200 || f.ingester.Frozen() {
		t.Errorf("as a password: %d", code)
	}
	if code, _ := f.send("PUT", "/freeze", "", func(r *http.Request) {
		r.SetBasicAuth("assigner", token)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}); code != 403 {
		t.Errorf("a page of another site: %d", code)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/status", nil)
	r.Header.Set("Authorization", "Bearer ")
	if f.operator.Handler("").ServeHTTP(w, r); w.Code != 401 {
		t.Errorf("an empty token lets in who shows none: %d", w.Code)
	}
}

// TestOperate does what concerns the chain of a publisher, from the first sync to its removal.
func TestOperate(t *testing.T) {
	f := start(t, false, func(n *operate.Node) { n.Owns = func(id peer.ID) bool { return id != ipnitest.ID(5) } })
	p, ads := f.publish(1, 3)
	_, other := ipnitest.Key(2)
	id := p.ID.String()
	f.want("PUT", "/markadprocessed/"+id+"?cid="+ads[0].String(), "", 404, "")
	f.sync(p, "")
	if !f.has(1, 0) || !f.has(1, 2) {
		t.Fatal("the chain was not read")
	}
	f.want("GET", "/healthcheck", "", 200, "OK")
	f.want("GET", "/status", "", 200, `{"Frozen":false,"ID":"`+ipnitest.ID(9).String()+`","Usage":12.5}`)
	f.want("PUT", "/freeze", "", 200, "")
	f.want("GET", "/status", "", 200, `"Frozen":true`)
	f.want("PUT", "/unfreeze", "", 200, "")
	f.want("POST", "/importproviders", `{"indexer":"aHR0cDovL29sZC5leGFtcGxl"}`, 200, "")
	if f.imported != "http://old.example" {
		t.Errorf("imported %q", f.imported)
	}
	f.want("POST", "/ingest/sync/"+ipnitest.ID(5).String(), "", 409, "another node")
	f.want("PUT", "/ingest/block/"+other.String(), "", 200, "")
	f.want("POST", "/ingest/sync/"+other.String(), "", 403, "")
	f.want("PUT", "/ingest/allow/"+other.String(), "", 200, "")
	if rules := f.ingester.Rules(); !rules[other] || len(rules) != 1 {
		t.Errorf("rules %v", rules)
	}
	f.want("DELETE", "/removeprovider/"+other.String(), "", 404, "")
	f.want("DELETE", "/removeprovider/"+id+"?block=true", "", 200, "")
	if f.has(1, 0) || f.ingester.Allowed(p.ID) == nil {
		t.Error("the provider is still there")
	}
	f.want("POST", "/ingest/assign/"+id, "", 501, "ingest.publishers")
	f.want("GET", "/ingest/assigned", "", 501, "")
	f.want("GET", "/ingest/preferred", "", 501, "")
	f.want("PUT", "/ingest/unassign/"+id, "", 501, "")

	none := operate.New(operate.Node{ID: ipnitest.ID(9), State: f.state, Usage: func() (float64, bool) { return 0, false }})
	w := httptest.NewRecorder()
	r := httptest.NewRequest("PUT", "/freeze", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	if none.Handler(token).ServeHTTP(w, r); w.Code != 501 || none.Status().Usage >= 0 {
		t.Errorf("a node that ingests nothing: %d, %+v", w.Code, none.Status())
	}
}

// TestSyncs begins each sync once, and tells which ones go on.
func TestSyncs(t *testing.T) {
	f := start(t, false, nil)
	p, ads := f.publish(1, 3)
	blocked := make(chan struct{})
	c, _ := f.chains.Load(p.ID)
	f.chains.Store(p.ID, stalled{c.(ipni.Chain), blocked})
	id := p.ID.String()
	f.want("POST", "/ingest/sync/"+id, `"`+addr+`"`, 202, "")
	f.want("POST", "/ingest/sync/"+id, "", 409, "")
	f.want("GET", "/ingest/sync", "", 200, `["`+id+`"]`)
	for n := range byte(63) {
		key, id := ipnitest.Key(n + 10)
		f.chains.Store(id, stalled{ipnitest.NewChain(key), blocked})
		f.want("POST", "/ingest/sync/"+id.String(), `"`+addr+`"`, 202, "")
	}
	f.want("POST", "/ingest/sync/"+ipnitest.ID(100).String(), `"`+addr+`"`, 503, "")
	close(blocked)
	f.eventually("the sync ends", func() bool { _, busy := f.ask("GET", "/ingest/sync", ""); return !strings.Contains(busy, id) })
	if st, err := f.ingester.AdStatus(t.Context(), ads[2]); err != nil || st.Status.String() != "indexed" {
		t.Errorf("%+v, %v", st, err)
	}
}

// stalled is a chain that answers when it may.
type stalled struct {
	ipni.Chain
	may <-chan struct{}
}

func (s stalled) Head(ctx context.Context) (cid.Cid, error) {
	select {
	case <-s.may:
		return s.Chain.Head(ctx)
	case <-ctx.Done():
		return cid.Undef, ctx.Err()
	}
}

// TestMark has the chain of the publisher of a provider end where it is told.
func TestMark(t *testing.T) {
	f := start(t, false, nil)
	p, ads := f.publish(1, 4)
	// A first contact makes the publisher known, and reads nothing: its chain is empty then.
	known, _ := f.chains.Load(p.ID)
	c := known.(*ipnitest.Chain)
	c.SetTip(cid.Undef)
	f.sync(p, "")
	f.want("PUT", "/markadprocessed/"+p.ID.String()+"?cid="+ads[1].String(), "", 200, "")
	c.SetTip(ads[3])
	f.eventually("the chain is read", func() bool {
		f.sync(p, "")
		return f.has(1, 3)
	})
	if !f.has(1, 2) || f.has(1, 1) || f.has(1, 0) {
		t.Errorf("read %v, want the newest two", []bool{f.has(1, 0), f.has(1, 1), f.has(1, 2), f.has(1, 3)})
	}
	f.want("PUT", "/markadprocessed/"+ipnitest.ID(7).String()+"?cid="+ads[1].String(), "", 404, "")
}

// TestAssign keeps assignments of a node that is alone as rules.
func TestAssign(t *testing.T) {
	f := start(t, true, nil)
	p, _ := f.publish(1, 1)
	q, _ := f.publish(2, 1)
	id := p.ID.String()
	f.want("GET", "/ingest/assigned", "", 204, "")
	f.want("POST", "/ingest/sync/"+id, "", 403, "")
	f.want("POST", "/ingest/assign/"+id, "", 200, "")
	f.want("POST", "/ingest/assign/"+id, "", 409, "")
	f.want("GET", "/ingest/assigned", "", 200, `[{"Publisher":"`+id+`"}]`)
	f.want("GET", "/ingest/preferred", "", 204, "")
	f.sync(p, "")
	f.want("PUT", "/ingest/unassign/"+id, "", 200, "")
	f.want("PUT", "/ingest/unassign/"+id, "", 404, "")
	f.want("GET", "/ingest/assigned", "", 204, "")
	f.want("GET", "/ingest/preferred", "", 200, `["`+id+`"]`)
	if !f.has(1, 0) {
		t.Error("what was read is gone")
	}
	f.want("PUT", "/ingest/block/"+q.ID.String(), "", 200, "")
	f.want("POST", "/ingest/assign/"+q.ID.String(), "", 403, "")
	f.want("GET", "/ingest/assigned", "", 204, "")
}

// TestLeases assigns publishers to one of several nodes.
func TestLeases(t *testing.T) {
	var table *assign.Table
	f := start(t, false, func(n *operate.Node) {
		table = assign.NewTable(n.State)
		n.Leases, n.Member = table, "a"
	})
	one, two, three := ipnitest.ID(1), ipnitest.ID(2), ipnitest.ID(3)
	f.want("PUT", "/ingest/unassign/"+one.String(), "", 404, "")
	f.want("POST", "/ingest/assign/"+one.String(), "", 200, "")
	f.want("POST", "/ingest/assign/"+one.String(), "", 409, "")
	for _, err := range []error{table.Assign(t.Context(), two, "b"), table.Add(t.Context(), three, "a"), table.Add(t.Context(), one, "a")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.want("GET", "/ingest/assigned", "", 200, `[{"Publisher":"`+one.String()+`"}]`)
	f.want("GET", "/ingest/preferred", "", 200, `["`+three.String()+`"]`)
	f.want("PUT", "/ingest/unassign/"+two.String(), "", 404, "")
	f.want("PUT", "/ingest/unassign/"+one.String(), "", 200, "")
	f.want("GET", "/ingest/assigned", "", 204, "")
	p, err := table.Publisher(t.Context(), one)
	if err != nil || !slices.Equal(p.Barred, []string{"a"}) || len(p.Pinned) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := table.Publisher(t.Context(), two); err != nil || !slices.Equal(p.Pinned, []string{"b"}) {
		t.Errorf("%+v, %v", p, err)
	}
}

// frozen is a directory of an index that takes no more.
type frozen []*model.ProviderInfo

func (f frozen) Provider(context.Context, peer.ID) (*model.ProviderInfo, error) {
	return nil, errors.ErrUnsupported
}

func (f frozen) Providers(context.Context) iter.Seq2[*model.ProviderInfo, error] {
	return func(yield func(*model.ProviderInfo, error) bool) {
		for _, info := range f {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// TestHandoff goes on where a frozen index stopped; if that is not clear, from the beginning.
func TestHandoff(t *testing.T) {
	for name, x := range map[string]struct {
		at   []int // advertisements at which the providers of the chain were frozen; -1 is none
		read []bool
	}{
		"clear": {[]int{1}, []bool{false, false, true, true}},
		"same":  {[]int{1, 1}, []bool{false, false, true, true}},
		"two":   {[]int{1, 2}, []bool{true, true, true, true}},
		"none":  {[]int{-1}, []bool{true, true, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, true, nil)
			p, ads := f.publish(1, 4)
			var infos frozen
			for i, at := range x.at {
				info := &model.ProviderInfo{AddrInfo: peer.AddrInfo{ID: ipnitest.ID(byte(20 + i))}, Publisher: &p}
				if at >= 0 {
					info.FrozenAt = ads[at]
				}
				infos = append(infos, info)
			}
			other := httptest.NewServer(ipnihttp.New(ipnihttp.Index{Providers: infos}, nil))
			defer other.Close()
			before := ipnitest.ID(30)
			body, err := json.Marshal(map[string]string{"FrozenID": before.String(), "FrozenURL": other.URL})
			if err != nil {
				t.Fatal(err)
			}
			f.want("POST", "/ingest/handoff/"+ipnitest.ID(2).String(), string(body), 404, "knows no publisher")
			f.want("GET", "/ingest/assigned", "", 204, "")
			f.want("POST", "/ingest/handoff/"+p.ID.String(), string(body), 200, "")
			f.eventually("the chain is read", func() bool {
				st, err := f.ingester.Status(t.Context(), p.ID)
				return err == nil && st.Head.Defined() && st.Lag == 0 && len(st.Gaps) == 0
			})
			var read []bool
			for i := range x.read {
				read = append(read, f.has(1, i))
			}
			if d := cmp.Diff(x.read, read); d != "" {
				t.Errorf("what was read: %s", d)
			}
			_, text := f.ask("GET", "/ingest/assigned", "")
			var all []ingesthttp.Assignment
			if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 || all[0].Publisher != p.ID || all[0].Continued != before {
				t.Errorf("%s, %v", text, err)
			}
			f.want("PUT", "/ingest/unassign/"+p.ID.String(), "", 200, "")
			f.want("POST", "/ingest/assign/"+p.ID.String(), "", 200, "")
			if _, text := f.ask("GET", "/ingest/assigned", ""); strings.Contains(text, before.String()) {
				t.Errorf("it is still said to be continued: %s", text)
			}
			other.Close()
			f.want("POST", "/ingest/handoff/"+p.ID.String(), string(body), 502, "")
		})
	}
}
