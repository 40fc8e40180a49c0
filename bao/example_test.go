package bao_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/hashstream/hashstream/bao"
)

// nodes keeps the tree of one blob in memory.
type nodes map[int64]bao.Pair

func (n nodes) Node(_ context.Context, split int64) (bao.Pair, error) { return n[split], nil }

func Example() {
	ctx := context.Background()
	blob := strings.NewReader(strings.Repeat("What you receive, you can check. ", 10_000))

	// Once: hash the blob and keep its tree.
	tree := nodes{}
	root, size, err := bao.NewHasher(nil).Sum(ctx, blob, func(_ context.Context, split int64, p *bao.Pair) error {
		tree[split] = *p
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}

	// The server: write a range with its proof.
	slice, err := bao.NewSlice(size, 200_000, 32)
	if err != nil {
		log.Fatal(err)
	}
	off, n := slice.Extent()
	var wire bytes.Buffer
	if _, err := slice.Encode(ctx, &wire, root, tree, io.NewSectionReader(blob, off, n)); err != nil {
		log.Fatal(err)
	}

	// The client, who knows the root alone.
	r, err := bao.NewReader(&wire, root, 200_000, 32)
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of %d bytes, sent as %d: %q\n", len(text), size, slice.EncodedSize(), text)
	// Output:
	// 32 of 330000 bytes, sent as 16712: "u can check. What you receive, y"
}
