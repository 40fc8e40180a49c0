package unpack_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	format "github.com/ipfs/go-ipld-format"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

// maker builds DAGs with boxo, and is a block.Source of them.
type maker struct {
	t       testing.TB
	store   blockstore.Blockstore
	service format.DAGService
}

var builder = cid.V1Builder{Codec: cid.DagProtobuf, MhType: 0x12}

func newMaker(t testing.TB) maker {
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	return maker{t, store, merkledag.NewDAGService(blockservice.New(store, offline.Exchange(store)))}
}

func (m maker) Blocks(ctx context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		got, err := m.store.Get(ctx, d.CID(cid.Raw))
		if err != nil {
			yield(block.Block{}, fmt.Errorf("block %s: %w", d, fs.ErrNotExist))
			return
		}
		yield(block.New(d.CID(cid.Raw), got.RawData()))
	}
}

func (m maker) add(n format.Node) format.Node {
	m.t.Helper()
	if err := m.service.Add(m.t.Context(), n); err != nil {
		m.t.Fatal(err)
	}
	return n
}

func (m maker) file(data []byte, raw bool) format.Node {
	m.t.Helper()
	params := helpers.DagBuilderParams{Dagserv: m.service, RawLeaves: raw, Maxlinks: 4, CidBuilder: builder}
	b, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), 100))
	if err != nil {
		m.t.Fatal(err)
	}
	n, err := balanced.Layout(b)
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

func (m maker) symlink(target string) format.Node {
	m.t.Helper()
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		m.t.Fatal(err)
	}
	n := merkledag.NodeWithData(data)
	n.SetCidBuilder(builder)
	return m.add(n)
}

type item struct {
	name string
	node format.Node
}

// dir makes a directory in one block, with any names.
func (m maker) dir(items ...item) format.Node {
	m.t.Helper()
	n := unixfs.EmptyDirNode()
	n.SetCidBuilder(builder)
	for _, x := range items {
		if err := n.AddRawLink(x.name, &format.Link{Cid: x.node.Cid()}); err != nil {
			m.t.Fatal(err)
		}
	}
	return m.add(n)
}

func (m maker) hamt(items ...item) format.Node {
	m.t.Helper()
	shard, err := hamt.NewShard(m.service, 16)
	if err != nil {
		m.t.Fatal(err)
	}
	shard.SetCidBuilder(builder)
	for _, x := range items {
		if err := shard.Set(m.t.Context(), x.name, x.node); err != nil {
			m.t.Fatal(err)
		}
	}
	n, err := shard.Node()
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

func random(size int) []byte {
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(data)
	return data
}

// root opens a fresh output directory, below another one that must stay as it is.
func root(t *testing.T) (*os.Root, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(path, 0o777); err != nil {
		t.Fatal(err)
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir, path
}

// list reads everything below path: kind, and content or target.
func list(t *testing.T, path string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == path {
			return err
		}
		rel, _ := filepath.Rel(path, p)
		switch {
		case e.IsDir():
			found[rel] = "dir"
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			found[rel] = "link " + target
			return err
		default:
			data, err := os.ReadFile(p)
			found[rel] = "file " + string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
