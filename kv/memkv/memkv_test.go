package memkv_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/kvtest"
	"github.com/hashstream/hashstream/kv/memkv"
)

func TestStore(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store { return memkv.New() })
}

func Example() {
	ctx := context.Background()
	s := memkv.New()
	err := s.Batch(ctx, []kv.Op{
		kv.Put([]byte("fruit/pear"), []byte("green")),
		kv.Put([]byte("fruit/apple"), []byte("red")),
		kv.Put([]byte("tree"), nil),
	})
	if err != nil {
		fmt.Println(err)
	}
	for p, err := range s.Scan(ctx, kv.Prefix([]byte("fruit/"))) {
		fmt.Printf("%s %s %v\n", p.Key, p.Value, err)
	}
	// Output:
	// fruit/apple red <nil>
	// fruit/pear green <nil>
}
