package shard_test

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/indexer/shard"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv/memkv"
)

// One node whose disk is full keeps all from ingesting: each write goes to all copies.
func TestFullElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := memkv.New()
		a := start(t, state, openStore(t), "a")
		defer a.stop()
		time.Sleep(time.Minute)
		if a.Full() {
			t.Error("full")
		}
		members := cluster.NewMembers(state, cluster.Timing{})
		for role, want := range map[string]bool{cluster.RoleIngest: false, cluster.RoleStore: true} {
			b, err := members.Join(t.Context(), cluster.Member{ID: "b" + role, URL: "http://127.0.0.1:1", Roles: []string{role}, Frozen: true, Store: "b" + role})
			must(t, err)
			for range 3 {
				time.Sleep(4 * time.Second)
				must(t, b.Beat(t.Context()))
			}
			if a.Full() != want {
				t.Errorf("another node with the role %s is full: %t", role, a.Full())
			}
			must(t, b.Leave(t.Context()))
		}
		time.Sleep(time.Minute)
		if a.Full() {
			t.Error("full although nobody is any more")
		}
	})
}

// A publisher of whom there is a mirror alone has no address by which to tell its follower: the lease
// is enough.
func TestFollowMirror(t *testing.T) {
	state := memkv.New()
	c := config.Default("").Shard
	c.Listen, c.Name = "127.0.0.1:0", "a"
	open := func(context.Context, peer.AddrInfo) (ipni.Chain, error) { return ipnitest.NewChain(nil), nil }
	a, err := shard.Open(shard.Options{Config: c, State: state, Store: openStore(t), Full: func() bool { return false }, Unaddressed: true})
	must(t, err)
	defer a.Close()
	follower := ingest.New(state, a.Index(), registry.NewShared(state), open, &ingest.Options{Owns: a.Owns, Unaddressed: true})
	id := ipnitest.ID(1)
	must(t, a.Announce(t.Context(), follower, cid.Undef, peer.AddrInfo{ID: id}))
	if _, err := assign.NewTable(state).Publisher(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, "http://127.0.0.1:1", follower) }()
	for statuses := range follow(t, follower) {
		if len(statuses) == 1 && statuses[0].Publisher.ID == id {
			break
		}
	}
	cancel()
	<-ended
}

// follow yields what a follower knows, again and again for a while.
func follow(t *testing.T, f *ingest.Ingester) iter.Seq[[]ingest.Status] {
	return func(yield func([]ingest.Status) bool) {
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			all, err := f.Statuses(t.Context())
			must(t, err)
			if !yield(all) {
				return
			}
		}
		t.Error("nobody follows the publisher")
	}
}
