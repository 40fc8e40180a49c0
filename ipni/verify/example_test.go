package verify_test

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/ipni/verify"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// A store lacks two of the three multihashes that an advertisement lists, and gets them back.
func ExampleRun() {
	ctx, p := context.Background(), newPublisher(1)
	chunk, block, _ := ad.EncodeChunk(ipnitest.Hashes(0, 3), cid.Undef)
	p.Put(chunk, block)
	head, block, _ := ad.New(ad.Ad{Provider: p.ID, ContextID: []byte("a"), Metadata: metadata(0), Entries: chunk}, p.Key)
	p.Put(head, block)

	// What ingestion remembers: the multihashes went to the group of epoch 9.
	rows := state.New(memkv.New())
	_ = rows.Batch(ctx, []kv.Op{
		state.PutPublisher(&state.Publisher{ID: p.ID, Head: head}),
		state.PutAd(head, state.Ad{Status: state.Indexed, Order: 9, Epoch: 9, Count: 3}),
	})
	s, _ := store.Open(ctx, kvstore.New(memkv.New()), memkv.New(), nil)
	_ = s.Put(ctx, ipni.Group{Context: ipni.Context{Provider: p.ID, ID: "a"}, Epoch: 9}, ipnitest.Hashes(0, 1))

	for range 2 {
		report, err := verify.Run(ctx, p.ID, p, rows, s, &verify.Options{Repair: s})
		fmt.Println(report.Missing, "of", report.Checked, "missing,", report.Repaired, "repaired,", err)
	}
	// Output:
	// 2 of 3 missing, 1 repaired, <nil>
	// 0 of 3 missing, 0 repaired, <nil>
}
