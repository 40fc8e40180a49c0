package unpack_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/gateway"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/internal/unpack"
)

// A tree comes out of boxo's gateway as one stream, in the order in which it is
// written to disk: no block is asked for twice.
func TestFetched(t *testing.T) {
	m := newMaker(t)
	var many []item
	want := map[string]string{"out": "dir", "out/many": "dir", "out/same": "file " + string(random(5000)), "out/link": "link many"}
	for i := range 500 {
		name := fmt.Sprint("entry ", i)
		many = append(many, item{name, m.file(random(i), i%2 == 0)})
		want["out/many/"+name] = "file " + string(random(i))
	}
	tree := m.dir(item{"link", m.symlink("many")}, item{"many", m.hamt(many...)}, item{"same", m.file(random(5000), true)})
	top := m.dir(item{"a", m.dir(item{"b", tree})})

	backend, err := gateway.NewBlocksBackend(blockservice.New(m.store, offline.Exchange(m.store)))
	if err != nil {
		t.Fatal(err)
	}
	peer := httptest.NewServer(gateway.NewHandler(gateway.Config{MetricsRegistry: prometheus.NewRegistry()}, backend))
	defer peer.Close()
	requests := 0
	c, err := fetch.New([]string{peer.URL}, &fetch.Options{Trace: &fetch.Trace{Request: func(string, string) { requests++ }}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sel := block.Selection{Root: top.Cid(), Path: []string{"a", "b"}, Scope: block.ScopeAll, Dups: true}
	s, err := c.Open(t.Context(), sel)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at, err := dag.Resolve(t.Context(), s, sel.Root, sel.Path)
	if err != nil {
		t.Fatal(err)
	}
	dir, path := root(t)
	if _, err := unpack.Tree(t.Context(), s, at.Terminus, dir, "out", nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, list(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if requests != 1 {
		t.Errorf("%d requests, want one", requests)
	}

	sel.Path = []string{"a", "nothing"}
	for _, err = range c.Walk(t.Context(), sel) {
	}
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, fetch.ErrIncomplete) {
		t.Errorf("an absent path: error %v", err)
	}
}
