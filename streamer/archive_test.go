package streamer_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/streamer"
)

// sectionsOf reads an archive.
func sectionsOf(t testing.TB, archive []byte) (blocks []block.Block) {
	t.Helper()
	r, err := car.NewReader(bytes.NewReader(archive), nil)
	if err != nil {
		t.Fatal(err)
	}
	for {
		s, err := r.Next()
		if err == io.EOF {
			return blocks
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := r.Data()
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, block.Block{CID: s.CID, Data: bytes.Clone(data)})
	}
}

// archived writes blocks as a CAR whose header names no root.
func archived(blocks []block.Block) []byte {
	b := car.AppendHeader(nil)
	for _, one := range blocks {
		b = append(car.AppendHead(b, one.CID, int64(len(one.Data))), one.Data...)
	}
	return b
}

// shuffled returns an archive of the same blocks in another order.
func shuffled(t testing.TB, archive []byte, seed uint64) []byte {
	t.Helper()
	blocks := sectionsOf(t, archive)
	rng := rand.New(rand.NewPCG(seed, 0))
	rng.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	return archived(blocks)
}

func always() *streamer.Options { return &streamer.Options{Verify: streamer.VerifyAlways} }

// newPlain is a streamer over a store without quick ways.
func newPlain(h *home, o *streamer.Options) *streamer.Streamer {
	return streamer.New(index.New(h.keys, nil), plain{h.packs}, o)
}
