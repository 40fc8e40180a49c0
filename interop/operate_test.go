package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipni/go-libipni/find/client"
	ingestclient "github.com/ipni/go-libipni/ingest/client"
	"github.com/ipni/index-provider/engine"
)

// TestRegister has a provider tell its addresses with go-libipni's client, before and after it advertises.
func TestRegister(t *testing.T) {
	n := newNode(t, alone)
	p := newPublisher(t, n.URL["gateway"], engine.HttpPublisher)
	c, err := ingestclient.New(n.URL["gateway"])
	must(t, err)
	finder, err := client.New(n.URL["gateway"])
	must(t, err)
	at := func(addr string) {
		t.Helper()
		must(t, c.Register(t.Context(), p.id, p.key, []string{addr}))
		info, err := finder.GetProvider(t.Context(), p.id)
		must(t, err)
		if len(info.AddrInfo.Addrs) != 1 || info.AddrInfo.Addrs[0].String() != addr {
			t.Errorf("addresses %v, want %s", info.AddrInfo.Addrs, addr)
		}
	}
	at("/ip4/127.0.0.1/tcp/1")
	head, _ := p.put("first", 10)
	n.indexed(head)
	at("/ip4/127.0.0.1/tcp/2")
	at("/ip4/127.0.0.1/tcp/3")
	stranger := newPublisher(t, n.URL["gateway"], engine.HttpPublisher)
	if err := c.Register(t.Context(), p.id, stranger.key, []string{"/ip4/127.0.0.1/tcp/4"}); err == nil {
		t.Error("somebody else signed")
	}
}

// TestAssigned takes assignments as an assigner of storetheindex gives them: with no more than a URL.
func TestAssigned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("secret"), 0o600))
	config := strings.Replace(alone, "[ingest]", fmt.Sprintf("[admin]\nipni_token_file = %q\n[ingest]\npublishers = \"listed\"", file), 1)
	n := newNode(t, config)
	p := newPublisher(t, n.URL["gateway"], engine.HttpPublisher)
	head, mhs := p.put("first", 10)
	if st := n.adStatus(head); st.State != "unknown" {
		t.Fatalf("before it is assigned: %+v", st)
	}
	admin := strings.Replace(n.URL["admin"], "://", "://assigner:secret@", 1)
	send := func(method, base, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		must(t, err)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(body)
	}
	if code, body := send("POST", n.URL["admin"], "/ingest/assign/"+p.id.String()); code != http.StatusUnauthorized {
		t.Errorf("without the secret: %d %s", code, body)
	}
	if code, body := send("POST", admin, "/ingest/assign/"+p.id.String()); code != http.StatusOK {
		t.Fatalf("assign: %d %s", code, body)
	}
	_, body := send("GET", admin, "/ingest/assigned")
	var all []struct{ Publisher string }
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all) != 1 || all[0].Publisher != p.id.String() {
		t.Errorf("assigned: %s, %v", body, err)
	}
	if _, err := p.PublishLatest(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.indexed(head)
	found(t, n, p, "first", mhs)
}

// TestCompared shows how an index compares with another, by what is looked up in it.
func TestCompared(t *testing.T) {
	old := newNode(t, alone)
	p := newPublisher(t, old.URL["gateway"], engine.HttpPublisher)
	head, mhs := p.put("first", 10)
	old.indexed(head)
	n := newNode(t, finding("indexers", old.URL["gateway"]))
	fresh := newNode(t, strings.Replace(alone, "[find]", fmt.Sprintf("[find]\ncompare = %q\ncompare_share = 0.5", old.URL["gateway"]), 1))
	coverage := func(name string) string {
		return fresh.measure(fmt.Sprintf(`coverage\{against="[^"]*",measure="%s"\}`, name))
	}
	fresh.eventually("providers are compared", func() bool { return coverage("providers") == "0" })
	for _, prefix := range []string{"", "encrypted_"} {
		fresh.eventually("lookups are compared", func() bool {
			for _, l := range lookups(t, fresh) {
				l.Find(t.Context(), mhs[0])
			}
			return coverage(prefix+"reads") == "0" && coverage(prefix+"not_found_ours") == "1" && coverage(prefix+"not_found_theirs") == "0"
		})
	}
	for range 10 {
		n.get("/multihash/" + mhs[0].B58String())
	}
	if got := n.measure(`breaker_open\{kind="indexer",name="[^"]*"\}`); got != "0" {
		t.Errorf("breaker %q", got)
	}
	old.kill()
	n.eventually("its breaker opens", func() bool {
		n.get("/multihash/" + mhs[0].B58String())
		return n.measure(`breaker_open\{kind="indexer",name="[^"]*"\}`) == "1"
	})
	if code, _ := fresh.get("/multihash/" + mhs[0].B58String()); code != http.StatusNotFound {
		t.Errorf("a lookup depends on the index that this one is compared with: %d", code)
	}
}
