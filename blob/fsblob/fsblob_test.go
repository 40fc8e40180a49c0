package fsblob_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/fsblob"
)

func open(t testing.TB, dir string, o *fsblob.Options) *fsblob.Store {
	t.Helper()
	s, err := fsblob.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, t.TempDir(), nil) })
}

// TestFewFiles runs the suite with a cache that evicts all the time.
func TestFewFiles(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, t.TempDir(), &fsblob.Options{OpenFiles: 1}) })
}

func Example() {
	dir, err := os.MkdirTemp("", "fsblob")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := fsblob.Open(dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	ctx := context.Background()
	if err := s.Put(ctx, "dir/greeting", strings.NewReader("hello, world\n")); err != nil {
		fmt.Println(err)
	}
	o, err := s.Get(ctx, "dir/greeting", 7, -1)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer o.Close()
	io.Copy(os.Stdout, o)
	// Output: world
}
