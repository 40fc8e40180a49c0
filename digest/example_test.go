package digest_test

import (
	"fmt"
	"log"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
)

func Example() {
	d, err := digest.Parse("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Code(), d.CID(cid.Raw))
	fmt.Println(d.Verify([]byte("hello world")))
	fmt.Println(d.Verify([]byte("hello, world")))
	// Output:
	// sha2-256 bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e
	// <nil>
	// bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e: content does not match its digest
}
