package publish_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing/fstest"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/publish"
	"github.com/hashstream/hashstream/kv/memkv"
)

func Example() {
	ctx := context.Background()
	db, packs := memkv.New(), memblob.New()
	files := fstest.MapFS{"d/a.txt": {Data: []byte(strings.Repeat("a", 100))}, "d/b.txt": {Data: []byte("b")}}
	dst := ingest.Destination{Packs: packs, Record: func() ingest.Recorder { return index.NewBuilder(db, index.LevelAll) }}
	if _, err := ingest.Add(ctx, files, "d", dst, nil); err != nil {
		fmt.Println(err)
		return
	}

	key, _, _ := crypto.GenerateEd25519Key(rand.Reader)
	p, err := publish.Open(ctx, db, packs, key, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	done, err := p.Reconcile(ctx, publish.Roots(index.New(db, nil))(ctx), nil)
	fmt.Println(done.Put, "root advertised", err)

	head, _ := p.Head(ctx)
	b, _ := p.Block(ctx, head, ipni.Advertisement)
	a, _ := ad.Decode(head, b)
	b, _ = p.Block(ctx, a.Entries, ipni.EntryChunk)
	e, _ := ad.DecodeEntries(a.Entries, b)
	fmt.Println(e.Count, "blocks")
	// Output:
	// 1 root advertised <nil>
	// 3 blocks
}
