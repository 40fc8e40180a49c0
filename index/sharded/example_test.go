package sharded_test

import (
	"fmt"
	"log"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index/sharded"
)

func Example() {
	block, err := digest.Sum(digest.SHA256, []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	pack, err := digest.Sum(digest.SHA256, []byte("a CAR with that block"))
	if err != nil {
		log.Fatal(err)
	}
	b, err := sharded.Encode(sharded.Index{
		Content: block.CID(cid.Raw),
		Shards:  []sharded.Shard{{Digest: pack, Slices: []sharded.Slice{{Digest: block, Offset: 97, Length: 5}}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	x, err := sharded.Decode(b)
	fmt.Println(len(b), x.Content, x.Shards[0].Slices[0].Offset, err)
	// Output: 335 bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq 97 <nil>
}
