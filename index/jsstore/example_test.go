package jsstore_test

import (
	"fmt"
	"log"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/jsstore"
)

func ExampleEncode() {
	d, err := digest.Parse("bafkreia5mrvqj2lrlpsf4g3i3q6vu62joklahulewcktygscsosvy7g7py")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", jsstore.Encode(jsstore.Blob(d, index.Location{Path: "sub/deep.bin"}, 0, 1000), jsstore.SingleLevel))
	// Output:
	// {"data":{"length":1000,"location":"sub/deep.bin","multihash":{"/":{"bytes":"EiAdZGsE6XFb5F4baNw9WntJcpYD0WSwlTwaQpOlXHzffg"}},"offset":0,"subRecords":[],"type":0},"type":"index/blob@0.1"}
}
