package assign_test

import (
	"context"
	"fmt"

	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/kv/memkv"
)

func Example() {
	ctx := context.Background()
	table := assign.NewTable(memkv.New())
	if err := table.Add(ctx, publisher(1)); err != nil {
		fmt.Println(err)
	}
	if err := table.Assign(ctx, publisher(1), "node-a"); err != nil {
		fmt.Println(err)
	}
	for p, err := range table.All(ctx) {
		fmt.Println(p.Pinned, p.Leases, err)
	}
	// Output: [node-a] [] <nil>
}
