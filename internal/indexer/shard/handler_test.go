package shard_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/indexer/shard"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// open makes a node that does not run, without records if there is no store.
func open(t testing.TB, state kv.Store, records *store.Store, name, listen, token string) *shard.Shard {
	t.Helper()
	c := config.Default("").Shard
	c.Listen, c.Name = listen, name
	s, err := shard.Open(shard.Options{Config: c, State: state, Store: records, Token: token, Full: func() bool { return false }})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// A URL with which each node would reach itself is refused.
func TestUnspecifiedAddress(t *testing.T) {
	for _, listen := range []string{":4001", "0.0.0.0:4001", "[::]:4001", "[::ffff:0.0.0.0]:4001"} {
		c := config.Default("").Shard
		c.Listen, c.Name = listen, "a"
		_, err := shard.Open(shard.Options{Config: c, State: memkv.New(), Store: openStore(t)})
		refused(t, err, fs.ErrInvalid, "set shard.url")
		c.URL = "http://10.0.0.1:4001"
		s, err := shard.Open(shard.Options{Config: c, State: memkv.New(), Store: openStore(t)})
		must(t, err)
		must(t, s.Close())
		if _, err := shard.Open(shard.Options{Config: config.Shard{Listen: listen}, Store: openStore(t)}); err != nil {
			t.Errorf("a node that is alone: %v", err)
		}
	}
	s := open(t, memkv.New(), openStore(t), "a", "localhost:0", "")
	refused(t, s.Run(t.Context(), "http://[::]:4001", nil), fs.ErrInvalid, "set shard.url")
}

// Two members whose rows have the same URL are not two copies: who is not meant refuses.
func TestMeantForAnother(t *testing.T) {
	state := memkv.New()
	a := open(t, state, openStore(t), "a", "127.0.0.1:0", "")
	announced := 0
	server := httptest.NewServer(a.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { announced++ })))
	defer server.Close()
	for _, id := range []string{"a", "c"} {
		_, err := cluster.NewMembers(state, cluster.Timing{}).Join(t.Context(), cluster.Member{ID: id, URL: server.URL, Roles: []string{cluster.RoleStore}})
		must(t, err)
	}
	_, err := cluster.NewTable(state).Update(t.Context(), 1, func(r *cluster.Row) error { r.Set("a", cluster.Ready); return nil })
	must(t, err)
	_, err = cluster.NewTable(state).Update(t.Context(), 2, func(r *cluster.Row) error { r.Set("c", cluster.Ready); return nil })
	must(t, err)
	b := open(t, state, nil, "b", "", "").Index().(ipni.SealedStore)
	put := func(p byte) error {
		return b.PutSealed(t.Context(), ipni.SealedGroup{Epoch: 1}, valuestore.Records(nil).Append(dhash.Key{p}, bytes.Repeat([]byte("v"), 102)))
	}
	if err := put(1); err != nil {
		t.Errorf("to the one that is meant: %v", err)
	}
	if err := put(2); err == nil {
		t.Error("a write to c was taken by a")
	}
	for v, err := range b.ValueKeys(t.Context(), dhash.Key{2}) {
		if err == nil {
			t.Errorf("a answered %q for c", v)
		}
	}
	for path, to := range map[string]string{"/encrypted/partition/00": "c", "/announce": "c", "/metadata": ""} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		must(t, err)
		r.Header.Set("Hashstream-Member", "b")
		r.Header.Set("Hashstream-To", to)
		res, err := http.DefaultClient.Do(r)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s for %q: %d", path, to, res.StatusCode)
		}
	}
	if announced > 0 {
		t.Error("an announcement for c was taken by a")
	}
}

// Who writes and reads at one URL, as clients of dhstore do, finds there what other nodes have.
func TestForeignReads(t *testing.T) {
	state := memkv.New()
	b := open(t, state, openStore(t), "b", "127.0.0.1:0", "")
	other := httptest.NewServer(b.Handler(nil))
	defer other.Close()
	a := open(t, state, openStore(t), "a", "127.0.0.1:0", "")
	server := httptest.NewServer(a.Handler(nil))
	defer server.Close()
	_, err := cluster.NewMembers(state, cluster.Timing{}).Join(t.Context(), cluster.Member{ID: "b", URL: other.URL, Roles: []string{cluster.RoleStore}})
	must(t, err)
	key, sealed := dhash.Key{1}, bytes.Repeat([]byte("v"), 102)
	_, err = cluster.NewTable(state).Update(t.Context(), 1, func(r *cluster.Row) error { r.Set("b", cluster.Ready); return nil })
	must(t, err)
	client, err := storehttp.NewClient(server.URL, &storehttp.ClientOptions{Foreign: true})
	must(t, err)
	defer client.Close()
	must(t, client.PutSealed(t.Context(), ipni.SealedGroup{}, valuestore.Records(nil).Append(key, sealed)))
	must(t, client.PutSealedMetadata(t.Context(), dhash.MetadataKey(key), sealed))
	found := 0
	for v, err := range client.ValueKeys(t.Context(), key) {
		must(t, err)
		if found++; !bytes.Equal(v, sealed) {
			t.Errorf("found %q", v)
		}
	}
	m, err := client.SealedMetadata(t.Context(), dhash.MetadataKey(key))
	if found != 1 || !bytes.Equal(m, sealed) {
		t.Errorf("%d values, metadata %q, %v", found, m, err)
	}
}

// What nodes pass on shows the token like everything else.
func TestAnnouncementsAreAuthorized(t *testing.T) {
	a := open(t, memkv.New(), openStore(t), "a", "127.0.0.1:0", "secret")
	h := a.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for shown, want := range map[string]int{"": http.StatusUnauthorized, "Bearer other": http.StatusUnauthorized, "Bearer secret": http.StatusOK} {
		r, w := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/announce", nil), httptest.NewRecorder()
		r.Header.Set("Authorization", shown)
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%q: %d, want %d", shown, w.Code, want)
		}
	}
}
