package ingest_test

import (
	"context"
	"fmt"
	"testing/fstest"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
)

func ExampleAdd() {
	files := fstest.MapFS{"greeting/hello.txt": {Data: []byte("hello world")}}
	db := memkv.New()
	dst := ingest.Destination{
		Packs:  memblob.New(),
		Record: func() ingest.Recorder { return index.NewBuilder(db, index.LevelAll) },
	}
	show := func(e ingest.Entry) { fmt.Println(e.CID, e.Path) }
	res, err := ingest.Add(context.Background(), files, "greeting", dst, &ingest.Options{Trace: ingest.Trace{Added: show}})
	if err != nil {
		panic(err)
	}
	fmt.Println(res.Size, "bytes in", res.Blocks, "blocks")
	// Output:
	// bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e greeting/hello.txt
	// bafybeic6svhkwl3y2wvkj33weshyjjs5cbvgijh7yo3kjasyglrdwe2l74 greeting
	// 11 bytes in 2 blocks
}
