package fsblob_test

import (
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
