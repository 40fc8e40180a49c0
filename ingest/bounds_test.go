package ingest

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pack"
)

// loosened is an index.Builder that tells whether Loose was called.
type loosened struct {
	*index.Builder
	loose bool
}

func (l *loosened) Loose() { l.loose = true; l.Builder.Loose() }

func someFiles() fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := range 60 {
		data := []byte(fmt.Sprint("file ", i%40))
		fsys[fmt.Sprintf("top/d%d/e/f%02d", i%4, i)] = &fstest.MapFile{Data: data}
		fsys[fmt.Sprintf("top/d%d/f%02d", i%4, i%15)] = &fstest.MapFile{Data: data}
	}
	return fsys
}

// TestForgetting adds a tree with fewer and fewer remembered blocks: the root stays
// the same, blocks are stored again, and the index is told.
func TestForgetting(t *testing.T) {
	fsys := someFiles()
	var root cid.Cid
	for _, limit := range []int{1 << 20, 45, 20, 3, 0} {
		o, err := (&Options{PackSize: 2000}).complete()
		if err != nil {
			t.Fatal(err)
		}
		s := &scanner{profile: o.Profile, fsys: fsys}
		e, err := s.root(t.Context(), "top")
		if err != nil {
			t.Fatal(err)
		}
		store, rec := memblob.New(), &loosened{Builder: index.NewBuilder(memkv.New(), index.LevelAll)}
		dst := Destination{Packs: store, Record: func() Recorder { return rec }}
		res, err := (&adder{o: o, dst: dst, scan: s, root: e, maxSeen: limit}).add(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !root.Defined() {
			root = res.Root
		}
		if res.Root != root {
			t.Errorf("limit %d: root %s, want %s", limit, res.Root, root)
		}
		if want := limit < 50; rec.loose != want {
			t.Errorf("limit %d: loose is %v, want %v", limit, rec.loose, want)
		}
		for f, err := range pack.VerifyAll(t.Context(), store) {
			t.Errorf("limit %d: %v %v", limit, f, err)
		}
	}
}

// swapped is a file system that becomes another after some opens.
type swapped struct {
	fs.FS
	after int
	then  fs.FS
}

func (s *swapped) Open(name string) (fs.File, error) { return s.pick().Open(name) }
func (s *swapped) ReadDir(name string) ([]fs.DirEntry, error) {
	return fs.ReadDir(s.pick(), name)
}

func (s *swapped) pick() fs.FS {
	if s.after--; s.after < 0 {
		return s.then
	}
	return s.FS
}

// TestListAgain adds a tree whose listings are not kept.
func TestListAgain(t *testing.T) {
	add := func(fsys fs.FS, kept int) (Result, error) {
		return add(t.Context(), Destination{Packs: memblob.New()}, nil, func(s *scanner) (entry, error) {
			s.fsys, s.kept = fsys, kept
			return s.root(t.Context(), "top")
		})
	}
	before := someFiles()
	want, err := add(before, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := add(before, keptEntries)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	for _, name := range []string{"top/d1/new", "top/new/f", "top/d0/f00", "top/d2/e"} {
		after := someFiles()
		for n := range after {
			if n == name || name == "top/d2/e" && len(n) > len(name) && n[:len(name)] == name {
				delete(after, n)
			}
		}
		if _, ok := before[name]; !ok && name != "top/d2/e" {
			after[name] = &fstest.MapFile{Data: []byte("x")}
		}
		// 9 directories are listed by the scan.
		_, err := add(&swapped{before, 9, after}, keptEntries)
		if !errors.Is(err, ErrChanged) {
			t.Errorf("%s: got error %v, want ErrChanged", name, err)
		}
	}
}
