package memblob_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/memblob"
)

func TestStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return memblob.New() })
}

func Example() {
	ctx := context.Background()
	s := memblob.New()
	if err := s.Put(ctx, "greeting", strings.NewReader("hello, world")); err != nil {
		fmt.Println(err)
	}
	b, err := blob.Read(ctx, s, "greeting", 7, 5)
	fmt.Printf("%s %v\n", b, err)
	// Output: world <nil>
}
