package cluster_test

import (
	"fmt"

	"github.com/hashstream/hashstream/ipni/cluster"
)

func ExampleOwners() {
	var members []cluster.Status
	for _, id := range []string{"a", "b", "c"} {
		members = append(members, cluster.Status{Alive: true, Member: cluster.Member{ID: id, Roles: []string{cluster.RoleStore}}})
	}
	copies := map[string]int{}
	for partition := range cluster.Partitions {
		for _, id := range cluster.Owners(byte(partition), members, 2, &cluster.Row{}) {
			copies[id]++
		}
	}
	fmt.Println(copies)
	// Output: map[a:173 b:166 c:173]
}
