package block_test

import (
	"fmt"
	"log"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
)

func Example() {
	c := cid.MustParse("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
	_, err := block.New(c, []byte("hello world"))
	fmt.Println(err)
	_, err = block.New(c, []byte("hello, world"))
	fmt.Println(err)
	// Output:
	// <nil>
	// block bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e: content does not match its digest
}

func ExampleParseByteRange() {
	r, err := block.ParseByteRange("-512:*")
	if err != nil {
		log.Fatal(err)
	}
	from, to, err := r.Resolve(2000)
	fmt.Println(from, to, err)
	// Output: 1488 2000 <nil>
}
