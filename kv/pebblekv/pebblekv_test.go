package pebblekv_test

import (
	"testing"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/kvtest"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

func open(t testing.TB, dir string, o *pebblekv.Options) *pebblekv.Store {
	t.Helper()
	s, err := pebblekv.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, t.TempDir(), nil) })
}
