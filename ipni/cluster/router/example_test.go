package router_test

import (
	"context"
	"fmt"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/clustertest"
	"github.com/hashstream/hashstream/ipni/cluster/router"
	"github.com/hashstream/hashstream/kv/memkv"
)

func Example() {
	ctx := context.Background()
	shared := memkv.New()
	members := cluster.NewMembers(shared, cluster.Timing{})
	if _, err := members.Join(ctx, cluster.Member{ID: "a", URL: "http://a.example", Roles: []string{cluster.RoleStore}}); err != nil {
		fmt.Println(err)
	}
	if err := cluster.NewTable(shared).Found(ctx, "a"); err != nil {
		fmt.Println(err)
	}
	node := clustertest.NewStore() // in earnest, a client of the member's URL
	r := router.New(shared, func(cluster.Member) (cluster.Node, error) { return node, nil }, nil)

	c := contextOf(1, 1)
	if err := r.Put(ctx, ipni.Group{Context: c, Epoch: 1}, hashes("something")); err != nil {
		fmt.Println(err)
	}
	for found, err := range r.Contexts(ctx, hash("something")) {
		fmt.Println(found.ID, err)
	}
	// Output: context 1 <nil>
}
