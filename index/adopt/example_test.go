package adopt_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pack"
)

// A CAR that lies in a pack store already becomes findable.
func Example() {
	ctx, packs, keys := context.Background(), memblob.New(), memkv.New()
	leaf, err := digest.Sum(digest.SHA256, []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	root := leaf.CID(cid.Raw)
	archive := append(car.AppendHead(car.AppendHeader(nil, root), root, 5), "hello"...)
	name, err := digest.Sum(digest.SHA256, archive)
	if err == nil {
		err = packs.Put(ctx, pack.Key(name), bytes.NewReader(archive))
	}
	if err != nil {
		log.Fatal(err)
	}

	a := adopt.New(adopt.Home{Keys: keys, Packs: packs}, nil)
	p, err := a.Pack(ctx, name)
	if err == nil {
		err = a.DAG(ctx, root)
	}
	if err != nil {
		log.Fatal(err)
	}
	known, err := index.New(keys, nil).Has(ctx, leaf)
	fmt.Println(p.Blocks, known, err)
	// Output: 1 true <nil>
}
