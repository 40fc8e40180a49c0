package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/maurl"
	"github.com/ipni/go-libipni/metadata"
)

// TestPublish advertises what a node stores: it is found at an indexer, with and without
// telling what is looked for, and fetched from where the result says; when it is gone from
// the node, it is gone from the indexer.
func TestPublish(t *testing.T) {
	indexer := newNode(t, alone)
	holder := newNode(t, fmt.Sprintf(`
[ipni]
roles = ["store", "publish"]
[publish]
announce = [%q]
interval = "200ms"
`, indexer.URL["gateway"]))
	file := filepath.Join(t.TempDir(), "file")
	content := bytes.Repeat([]byte("what a node stores "), 100_000)
	must(t, os.WriteFile(file, content, 0o600))
	root, err := cid.Decode(holder.run("add", "--quiet", file))
	must(t, err)

	for _, l := range lookups(t, indexer) {
		holder.eventually(l.name+" finds the root", func() bool { return len(results(t, l, root.Hash())) > 0 })
	}
	r := results(t, lookups(t, indexer)[1], root.Hash())[0]
	md := metadata.Default.New()
	must(t, md.UnmarshalBinary(r.Metadata))
	if got := md.Protocols(); len(got) != 1 || got[0].String() != "transport-ipfs-gateway-http" {
		t.Errorf("protocols %v", got)
	}
	gateway, err := maurl.ToURL(r.Provider.Addrs[0])
	must(t, err)
	fetched := filepath.Join(t.TempDir(), "fetched")
	indexer.run("get", root.String(), "--gateway", gateway.String(), "-o", fetched)
	if got, err := os.ReadFile(fetched); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("fetched %d bytes, %v", len(got), err)
	}
	if said := indexer.run("find", root.String(), "--indexer", indexer.URL["gateway"]); !strings.Contains(said, "transport-ipfs-gateway-http") {
		t.Errorf("find says %q", said)
	}

	holder.run("pack", "clear", "--yes")
	for _, l := range lookups(t, indexer) {
		holder.eventually(l.name+" finds nothing", func() bool { return len(results(t, l, root.Hash())) == 0 })
	}
}
