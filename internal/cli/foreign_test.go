package cli_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	mdtest "github.com/ipfs/boxo/ipld/merkledag/test"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	boxoio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	carv2 "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/storage"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/internal/cli"
)

// The dump of a tree is, byte for byte, the CAR that boxo and go-car make of it.
func TestDumpIsForeignCAR(t *testing.T) {
	leaf := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(leaf)
	content := map[string][]byte{
		"a.bin":   bytes.Repeat(leaf, 3), // the same leaf three times
		"b.bin":   append(bytes.Clone(leaf[:5000]), leaf...),
		"c.txt":   []byte("hello"),
		"d.empty": nil,
	}
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range content {
		if err := os.WriteFile(filepath.Join(tree, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, want := foreignCAR(t, content)

	home, dump := filepath.Join(dir, "home"), filepath.Join(dir, "dump.car")
	var out bytes.Buffer
	for _, args := range [][]string{{"add", "-q", tree}, {"dump", "-q", root.String(), dump}} {
		s := cli.Streams{In: new(bytes.Buffer), Out: &out, Err: t.Output()}
		if code := cli.Run(t.Context(), append([]string{"--home", home}, args...), s); code != 0 {
			t.Fatalf("%v: exit code %d", args, code)
		}
	}
	if out.String() != root.String()+"\n" {
		t.Errorf("added %q, boxo says %s", out.String(), root)
	}
	got, err := os.ReadFile(dump)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d bytes, %v", len(got), len(want), err)
	}
}

func foreignCAR(t *testing.T, content map[string][]byte) (cid.Cid, []byte) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, dserv := t.Context(), mdtest.Mock()
	builder := cid.Prefix{Version: 1, Codec: cid.DagProtobuf, MhType: multihash.SHA2_256, MhLength: -1}
	dir, err := boxoio.NewDirectory(dserv, boxoio.WithCidBuilder(builder))
	must(err)
	for name, data := range content {
		params := helpers.DagBuilderParams{Maxlinks: 1024, RawLeaves: true, CidBuilder: builder, Dagserv: dserv}
		db, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), 1<<20))
		must(err)
		file, err := balanced.Layout(db)
		must(err)
		must(dir.AddChild(ctx, name, file))
	}
	node, err := dir.GetNode()
	must(err)
	must(dserv.Add(ctx, node))

	f, err := os.Create(filepath.Join(t.TempDir(), "foreign.car"))
	must(err)
	defer f.Close()
	w, err := storage.NewWritable(f, []cid.Cid{node.Cid()}, carv2.WriteAsCarV1(true))
	must(err)
	links := merkledag.GetLinksWithDAG(dserv)
	seen := cid.NewSet()
	var walk func(c cid.Cid)
	walk = func(c cid.Cid) {
		if !seen.Visit(c) {
			return
		}
		n, err := dserv.Get(ctx, c)
		must(err)
		must(w.Put(ctx, c.KeyString(), n.RawData()))
		var below []*ipld.Link
		below, err = links(ctx, c)
		must(err)
		for _, l := range below {
			walk(l.Cid)
		}
	}
	walk(node.Cid())
	must(w.Finalize())
	data, err := os.ReadFile(f.Name())
	must(err)
	return node.Cid(), data
}
