package copies_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/streamer/copies"
)

// BenchmarkTrusted is what a request for a range of a verified pack takes, without the plan
// and without the bytes: it opens the range, and asks whether to send it as it is.
func BenchmarkTrusted(b *testing.B) {
	packs := memblob.New()
	var locations []index.Location
	for i := range 100 {
		data := fmt.Appendf(nil, "pack %d", i)
		d, err := digest.Sum(digest.SHA256, data)
		if err != nil {
			b.Fatal(err)
		}
		if err := packs.Put(b.Context(), pack.Key(d), bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
		locations = append(locations, index.Location{Pack: d})
	}
	c := copies.New(index.New(memkv.New(), nil), packs, nil)
	for _, loc := range locations {
		obj, err := c.Get(b.Context(), loc, 0, 4)
		if err != nil {
			b.Fatal(err)
		}
		c.Remember(loc, obj.Info().Version, 0, 4)
		obj.Close()
	}
	ctx := b.Context()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		loc := locations[i%len(locations)]
		obj, err := c.Get(ctx, loc, 0, 4)
		if err != nil || !c.Trusted(ctx, loc, obj, 0, 4) {
			b.Fatal(err)
		}
		obj.Close()
	}
}
