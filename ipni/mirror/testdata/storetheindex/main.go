// Command storetheindex writes a small mirror with the code of storetheindex, or reads one.
//
//	go run . write DIR     makes DIR/flat (gzip, flat), DIR/split (gzip, in directories), DIR/plain
//	go run . read DIR none|gzip PROVIDER   prints the chain that the mirror in DIR holds
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand"
	"os"
	"path/filepath"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipld/go-ipld-prime"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipni/go-libipni/ingest/schema"
	"github.com/ipni/storetheindex/carstore"
	"github.com/ipni/storetheindex/filestore"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "write":
		for _, v := range []struct {
			name, compress string
			split          []int
		}{{"flat", "gzip", nil}, {"split", "gzip", []int{11, 2}}, {"plain", "none", nil}} {
			if err == nil {
				err = write(filepath.Join(os.Args[2], v.name), v.compress, v.split)
			}
		}
	case len(os.Args) == 5 && os.Args[1] == "read":
		err = read(os.Args[2], os.Args[3], os.Args[4])
	default:
		err = errors.New("usage: write DIR | read DIR none|gzip PROVIDER")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// write makes a chain of three: three chunks of ten, one chunk of five, a removal.
func write(dir, compress string, split []int) error {
	ctx := context.Background()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := filestore.NewLocal(dir, filestore.WithDefaultPathSplit(split...))
	if err != nil {
		return err
	}
	key, _, err := crypto.GenerateEd25519Key(rand.New(rand.NewSource(1)))
	if err != nil {
		return err
	}
	provider, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return err
	}
	ds := datastore.NewMapDatastore()
	lsys := cidlink.DefaultLinkSystem()
	lsys.StorageWriteOpener = func(ipld.LinkContext) (io.Writer, ipld.BlockWriteCommitter, error) {
		buf := bytes.NewBuffer(nil)
		return buf, func(l ipld.Link) error { return ds.Put(ctx, datastore.NewKey(l.String()), buf.Bytes()) }, nil
	}
	w, err := carstore.NewWriter(ds, files, carstore.WithCompress(compress))
	if err != nil {
		return err
	}
	var previous ipld.Link
	var head cid.Cid
	seed := byte(0)
	for i, sizes := range [][]int{{10, 10, 10}, {5}, {}} {
		entries := ipld.Link(schema.NoEntries)
		var next ipld.Link
		for _, n := range sizes {
			chunk := schema.EntryChunk{Next: next}
			for range n {
				seed++
				mh, err := multihash.Sum([]byte{seed}, multihash.SHA2_256, -1)
				if err != nil {
					return err
				}
				chunk.Entries = append(chunk.Entries, mh)
			}
			node, err := chunk.ToNode()
			if err != nil {
				return err
			}
			if next, err = lsys.Store(ipld.LinkContext{}, schema.Linkproto, node); err != nil {
				return err
			}
			entries = next
		}
		ad := schema.Advertisement{
			PreviousID: previous, Provider: provider.String(), Addresses: []string{"/ip4/192.0.2.1/tcp/3103"},
			Entries: entries, ContextID: []byte{byte(i % 2)}, Metadata: []byte{0x80, 0x12}, IsRm: i == 2,
		}
		if err := ad.Sign(key); err != nil {
			return err
		}
		node, err := ad.ToNode()
		if err != nil {
			return err
		}
		if previous, err = lsys.Store(ipld.LinkContext{}, schema.Linkproto, node); err != nil {
			return err
		}
		head = previous.(cidlink.Link).Cid
		if _, err := w.Write(ctx, head, false, false); err != nil {
			return err
		}
	}
	_, err = w.WriteHead(ctx, head, provider)
	return err
}

func read(dir, compress, provider string) error {
	ctx := context.Background()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	files, err := filestore.NewLocal(dir)
	if err != nil {
		return err
	}
	r, err := carstore.NewReader(files, carstore.WithCompress(compress))
	if err != nil {
		return err
	}
	id, err := peer.Decode(provider)
	if err != nil {
		return err
	}
	at, err := r.ReadHead(ctx, id)
	if err != nil {
		return err
	}
	for at != cid.Undef {
		block, err := r.Read(ctx, at, false)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Println(at, "is not there")
			return nil
		}
		if err != nil {
			return err
		}
		ad, err := block.Advertisement()
		if err != nil {
			return err
		}
		if _, err := ad.VerifySignature(); err != nil {
			return err
		}
		fmt.Println("ad", at, "context", ad.ContextID, "entries", ad.Entries, "removal", ad.IsRm)
		if block.Entries != nil {
			for e := range block.Entries {
				if e.Err != nil {
					return e.Err
				}
				chunk, err := e.EntryChunk()
				if err != nil {
					fmt.Println("  block", e.Cid, err)
					continue
				}
				fmt.Println("  chunk", e.Cid, len(chunk.Entries), "multihashes")
			}
		}
		at = ad.PreviousCid()
	}
	return nil
}
