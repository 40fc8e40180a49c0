package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/fetch"
)

// boxo serves a blockstore with boxo's own gateway.
func boxo(t *testing.T, store blockstore.Blockstore) string {
	t.Helper()
	backend, err := gateway.NewBlocksBackend(blockservice.New(store, offline.Exchange(store)))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(gateway.NewHandler(gateway.Config{MetricsRegistry: prometheus.NewRegistry()}, backend))
	t.Cleanup(s.Close)
	return s.URL
}

func TestBoxoGateway(t *testing.T) {
	f := newFixture(t, random(300<<10, chunkSize), chunkSize)
	raws := 0
	o := &fetch.Options{Trace: &fetch.Trace{Fallback: func(_ string, err error) { t.Log(err); raws++ }}}
	c := client(t, o, boxo(t, f.store))

	data, err := readFile(t.Context(), c, f)
	if err != nil || !bytes.Equal(data, f.data) {
		t.Errorf("file: error %v", err)
	}
	selections := map[string]block.Selection{
		"all":    {Root: f.dir, Scope: block.ScopeAll},
		"repeat": {Root: f.dir, Scope: block.ScopeAll, Dups: true},
		"block":  {Root: f.file, Scope: block.ScopeBlock},
		"entity": {Root: f.dir, Path: []string{"file.bin"}, Scope: block.ScopeEntity},
		"range":  {Root: f.dir, Path: []string{"file.bin"}, Scope: block.ScopeEntity, Bytes: &block.ByteRange{From: -70_000, To: -1_000}},
	}
	for name, sel := range selections {
		var got, want []string
		for b, err := range c.Walk(t.Context(), sel) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				got = append(got, b.CID.String())
			}
		}
		for _, b := range f.walk(t, sel) {
			want = append(want, b.CID.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if raws != 0 {
		t.Errorf("the streams were given up %d times", raws)
	}
	for d, want := range f.mem {
		for b, err := range c.Blocks(t.Context(), d) {
			if err != nil || !bytes.Equal(b.Data, want.Data) {
				t.Fatalf("%s: %v", d, err)
			}
		}
	}
}

func TestBoxoGatewayLacks(t *testing.T) {
	f := newFixture(t, random(300<<10, chunkSize), chunkSize)
	if err := f.store.DeleteBlock(t.Context(), f.walk(t, block.Selection{Root: f.file, Scope: block.ScopeAll})[40].CID); err != nil {
		t.Fatal(err)
	}
	c := client(t, nil, boxo(t, f.store))
	if _, err := readFile(t.Context(), c, f); !errors.Is(err, fetch.ErrIncomplete) {
		t.Errorf("without a block: error %v", err)
	}
	whole := &peer{fixture: f, raw: f.mem}
	both := client(t, nil, boxo(t, f.store), whole.start(t))
	if data, err := readFile(t.Context(), both, f); err != nil || !bytes.Equal(data, f.data) {
		t.Errorf("with a second gateway: error %v", err)
	}
	empty := client(t, nil, boxo(t, blockstore.NewBlockstore(datastore.NewMapDatastore())))
	if _, err := readFile(t.Context(), empty, f); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, fetch.ErrIncomplete) {
		t.Errorf("without the root: error %v", err)
	}
}

func ExampleClient_Walk() {
	c, err := fetch.New([]string{"https://trustless-gateway.link", "https://ipfs.io"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	root := cid.MustParse("bafkqac3imvwgy3zao5xxe3de") // carries its own bytes, so nobody is asked
	for b, err := range c.Walk(context.Background(), block.Selection{Root: root, Scope: block.ScopeAll}) {
		fmt.Println(b.CID, err)
	}
	b, err := block.Get(context.Background(), c, root)
	fmt.Printf("%s %v\n", b.Data, err)
	// Output: hello world <nil>
}
