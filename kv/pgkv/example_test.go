package pgkv_test

import (
	"context"
	"fmt"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pgkv"
)

func Example() {
	ctx := context.Background()
	s, err := pgkv.Open(ctx, "postgres://hashstream:password@db.example.org/hashstream?sslmode=verify-full", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if err := s.Batch(ctx, []kv.Op{kv.Put([]byte("fruit/pear"), []byte("green"))}); err != nil {
		fmt.Println(err)
	}
	for p, err := range s.Scan(ctx, kv.Prefix([]byte("fruit/"))) {
		fmt.Printf("%s %s %v\n", p.Key, p.Value, err)
	}
}
