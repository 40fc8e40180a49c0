package ipnihttp_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipni/go-libipni/find/client"
	"github.com/ipni/go-libipni/find/model"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// TestPeerClients asks our server by the clients of the peers.
func TestPeerClients(t *testing.T) {
	m := newMemory()
	mh := hash(t, 1)
	m.add(t, mh, 1)
	m.add(t, mh, 2)
	ix := m.index()
	ix.Stats = func(context.Context) (model.Stats, error) {
		return model.Stats{EntriesEstimate: 7, EntriesCount: 5}, nil
	}
	url := serve(t, ipnihttp.New(ix, nil))
	plain, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	private, err := client.NewDHashClient(client.WithDHStoreURL(url), client.WithProvidersURL(url))
	if err != nil {
		t.Fatal(err)
	}
	for name, finder := range map[string]client.Finder{"plain": plain, "private": private} {
		res, err := finder.Find(t.Context(), mh)
		if err != nil || len(res.MultihashResults) != 1 || len(res.MultihashResults[0].ProviderResults) != 2 {
			t.Fatalf("%s: %v, %v", name, res, err)
		}
		for i, r := range res.MultihashResults[0].ProviderResults {
			want := m.found[string(mh)][i]
			if r.Provider.ID != want.Provider.ID || string(r.ContextID) != string(want.ContextID) || string(r.Metadata) != string(want.Metadata) || len(r.Provider.Addrs) != 2 {
				t.Errorf("%s: %v, want %v", name, r, want)
			}
		}
		if res, err := finder.Find(t.Context(), hash(t, 2)); err != nil || len(res.MultihashResults) != 0 {
			t.Errorf("%s: none: %v, %v", name, res, err)
		}
	}
	if all, err := plain.ListProviders(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("providers: %v, %v", all, err)
	}
	if p, err := plain.GetProvider(t.Context(), ipnitest.ID(1)); err != nil || p.AddrInfo.ID != ipnitest.ID(1) {
		t.Errorf("provider: %v, %v", p, err)
	}
	if s, err := plain.GetStats(t.Context()); err != nil || s.EntriesCount != 5 || s.EntriesEstimate != 7 {
		t.Errorf("stats: %v, %v", s, err)
	}
}

func newClient(t testing.TB, url string, o *ipnihttp.ClientOptions) *ipnihttp.Client {
	t.Helper()
	if o == nil {
		o = &ipnihttp.ClientOptions{}
	}
	o.Retries = -1
	c, err := ipnihttp.NewClient(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func sameResults() cmp.Option {
	return cmp.Comparer(func(a, b multiaddr.Multiaddr) bool { return a.Equal(b) })
}

func TestClient(t *testing.T) {
	m := newMemory()
	mh := hash(t, 1)
	for n := range byte(200) {
		m.add(t, mh, n)
	}
	c := newClient(t, serve(t, ipnihttp.New(m.index(), nil)), nil)
	got, err := collect(c.Find(t.Context(), mh))
	if err != nil || !cmp.Equal(got, m.found[string(mh)], sameResults()) {
		t.Errorf("find: %v, %s", err, cmp.Diff(m.found[string(mh)], got, sameResults()))
	}
	key := dhash.SecondHash(mh)
	keys, err := collect(c.ValueKeys(t.Context(), key))
	if err != nil || !cmp.Equal(keys, m.sealed[key]) {
		t.Errorf("value keys: %d, %v", len(keys), err)
	}
	for k, want := range m.metadata {
		if md, err := c.SealedMetadata(t.Context(), k); err != nil || string(md) != string(want) {
			t.Errorf("metadata: %x, %v", md, err)
		}
		break
	}
	if _, err := c.SealedMetadata(t.Context(), dhash.MetadataKey{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no metadata: %v", err)
	}
	if got, err := collect(c.Find(t.Context(), hash(t, 2))); err != nil || got != nil {
		t.Errorf("none: %v, %v", got, err)
	}
	if p, err := c.Provider(t.Context(), ipnitest.ID(3)); err != nil || p.AddrInfo.ID != ipnitest.ID(3) {
		t.Errorf("provider: %v, %v", p, err)
	}
	if _, err := c.Provider(t.Context(), ipnitest.ID(250)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no provider: %v", err)
	}
	if all, err := collect(c.Providers(t.Context())); err != nil || len(all) != 200 {
		t.Errorf("providers: %d, %v", len(all), err)
	}
	m.err = errors.New("replica is gone")
	for _, err := range c.Find(t.Context(), mh) {
		if err != nil && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, digest.ErrMismatch)) {
			t.Errorf("a cut answer is %v", err)
		}
	}
	if _, err := collect(c.Find(t.Context(), mh)); err == nil {
		t.Error("a cut answer looks whole")
	}
	if _, err := collect(c.Find(t.Context(), hash(t, 2))); err == nil || errors.Is(err, fs.ErrNotExist) || wire.LookupStatus(err) != 502 {
		t.Errorf("failure: %v", err)
	}
}

// TestLiars are servers that do not answer as they should. What they say is an error,
// never absence.
func TestLiars(t *testing.T) {
	mh := hash(t, 1)
	key := dhash.SecondHash(mh)
	other := base64.StdEncoding.EncodeToString(hash(t, 2))
	evk := base64.StdEncoding.EncodeToString(make([]byte, 40))
	id := ipnitest.ID(1).String()
	for name, c := range map[string]struct{ kind, body string }{
		"a page":            {"text/html", "<html>"},
		"no JSON":           {"application/json", "{"},
		"no lines":          {"application/x-ndjson", "x\n"},
		"cut line":          {"application/x-ndjson", `{"EncryptedValueKey":"` + evk[:20]},
		"no provider":       {"application/x-ndjson", `{"ContextID":"AAAA"}`},
		"bad peer":          {"application/x-ndjson", `{"Provider":{"ID":"x"}}`},
		"long context":      {"application/x-ndjson", `{"ContextID":"` + strings.Repeat("AAAA", 30) + `","Provider":{"ID":"` + id + `"}}`},
		"bad base64":        {"application/x-ndjson", `{"EncryptedValueKey":"!!!!"}`},
		"no key":            {"application/x-ndjson", `{"EncryptedMetadata":"AAAA"}`},
		"null":              {"application/x-ndjson", `{"EncryptedValueKey":null}`},
		"endless line":      {"application/x-ndjson", strings.Repeat("x", 1<<20)},
		"other multihash":   {"application/json", `{"MultihashResults":[{"Multihash":"` + other + `","ProviderResults":[{"Provider":{"ID":"` + id + `"}}]}],"EncryptedMultihashResults":[{"Multihash":"` + other + `","EncryptedValueKeys":["` + evk + `"]}]}`},
		"too large a whole": {"application/json", `{"x":"` + strings.Repeat("x", 1<<20) + `"}`},
		"nothing":           {"application/json", ""},
	} {
		url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			io.WriteString(w, c.body)
		}))
		client := newClient(t, url, &ipnihttp.ClientOptions{MaxLine: 8 << 10, MaxAnswer: 64 << 10})
		if got, err := collect(client.Find(t.Context(), mh)); !errors.Is(err, digest.ErrMismatch) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if got, err := collect(client.ValueKeys(t.Context(), key)); !errors.Is(err, digest.ErrMismatch) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
		if _, err := client.SealedMetadata(t.Context(), dhash.MetadataKey{}); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: metadata: %v", name, err)
		}
		if _, err := client.Provider(t.Context(), ipnitest.ID(1)); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: provider: %v", name, err)
		}
		if _, err := collect(client.Providers(t.Context())); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: providers: %v", name, err)
		}
	}
}

// TestLongLine reads a line that is longer than the 64 KiB at which indexstar gives up.
func TestLongLine(t *testing.T) {
	m := newMemory()
	mh := hash(t, 1)
	r := m.add(t, mh, 1)
	for range 900 {
		r.Provider.Addrs = append(r.Provider.Addrs, multiaddr.StringCast("/dns4/"+strings.Repeat("x", 100)+".example/tcp/443"))
	}
	m.found[string(mh)] = []ipni.Result{r, r}
	c := newClient(t, serve(t, ipnihttp.New(m.index(), nil)), nil)
	got, err := collect(c.Find(t.Context(), mh))
	if err != nil || len(got) != 2 || len(got[0].Provider.Addrs) != 902 {
		t.Errorf("%d results, %v", len(got), err)
	}
}

// TestUnknownAddress keeps a provider one of whose addresses this build cannot read.
func TestUnknownAddress(t *testing.T) {
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		io.WriteString(w, `{"Provider":{"ID":"`+ipnitest.ID(1).String()+`","Addrs":["/carrier-pigeon/7","/ip4/192.0.2.1/tcp/1"]}}`)
	}))
	got, err := collect(newClient(t, url, nil).Find(t.Context(), hash(t, 1)))
	if err != nil || len(got) != 1 || len(got[0].Provider.Addrs) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestShortKeys leaves out what any writer may put into a dhstore, and not what stands beside it.
func TestShortKeys(t *testing.T) {
	mh := hash(t, 1)
	key := dhash.SecondHash(mh)
	good := base64.StdEncoding.EncodeToString(make([]byte, 40))
	short := base64.StdEncoding.EncodeToString(make([]byte, dhash.Overhead-1))
	name := base64.StdEncoding.EncodeToString(key.Multihash())
	for _, c := range []struct{ kind, body string }{
		{"application/x-ndjson", `{"EncryptedValueKey":"` + short + `"}` + "\n" + `{"EncryptedValueKey":"` + good + `"}` + "\n" + `{"EncryptedValueKey":""}` + "\n"},
		{"application/json", `{"EncryptedMultihashResults":[{"Multihash":"` + name + `","EncryptedValueKeys":["","` + good + `","` + short + `"]}]}`},
	} {
		client := newClient(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			io.WriteString(w, c.body)
		})), nil)
		if got, err := collect(client.ValueKeys(t.Context(), key)); err != nil || len(got) != 1 || len(got[0]) != 40 || client.Skipped() != 2 {
			t.Errorf("%s: %x, %v, %d skipped", c.kind, got, err, client.Skipped())
		}
	}
}
