package car_test

import (
	"bytes"
	"fmt"
	"io"
	"log"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

func Example() {
	data := []byte("hello world")
	d, err := digest.Sum(digest.SHA256, data)
	if err != nil {
		log.Fatal(err)
	}
	hello := block.Block{CID: d.CID(cid.Raw), Data: data}

	var archive bytes.Buffer
	w, err := car.NewWriter(&archive, hello.CID)
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Write(hello); err != nil {
		log.Fatal(err)
	}

	r, err := car.NewReader(&archive, nil)
	if err != nil {
		log.Fatal(err)
	}
	for {
		s, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		data, err := r.Data()
		if err != nil {
			log.Fatal(err)
		}
		b, err := block.New(s.CID, data) // the reader does not verify
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %q at %d\n", b.CID, b.Data, s.Offset)
	}
	// Output: bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e: "hello world" at 96
}
