package segstore

import (
	"testing"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/valuestoretest"
)

func openStore(t testing.TB, dir string, o *Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"Default", Options{}},
		{"Small", Options{Memory: 100 << 10, Partitions: 4}}, // everything is flushed and merged all the time
		{"Single", Options{Memory: 300 << 10, Partitions: 1}},
		{"ShortKeys", Options{Memory: 300 << 10, KeyBytes: 8, Partitions: 32}},
	} {
		t.Run(c.name, func(t *testing.T) {
			valuestoretest.TestStore(t, func(t *testing.T, dir string) valuestore.Store { return openStore(t, dir, &c.o) },
				&valuestoretest.Options{KeyBytes: c.o.KeyBytes})
		})
	}
}
