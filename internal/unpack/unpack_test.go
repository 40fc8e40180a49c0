package unpack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	gocar "github.com/ipld/go-car/v2"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/unpack"
	"github.com/hashstream/hashstream/unixfs"
)

func TestTree(t *testing.T) {
	m := newMaker(t)
	big := random(5000)
	var many []item
	want := map[string]string{"many": "dir"}
	for i := range 300 {
		name := fmt.Sprint("entry ", i)
		many = append(many, item{name, m.file([]byte(name), i%2 == 0)})
		want["many/"+name] = "file " + name
	}
	tree := m.dir(
		item{"empty", m.dir()},
		item{"big", m.file(big, true)},
		item{"old", m.file(big, false)},
		item{"zero", m.file(nil, true)},
		item{"sub", m.dir(item{"link", m.symlink("../../../etc/passwd")}, item{"\xff\x1b[31m", m.file([]byte("x"), true)})},
		item{"many", m.hamt(many...)},
		item{"absolute", m.symlink("/etc")},
	)
	for k, v := range map[string]string{
		"empty": "dir", "big": "file " + string(big), "old": "file " + string(big), "zero": "file ", "sub": "dir",
		"sub/link": "link ../../../etc/passwd", "sub/\xff\x1b[31m": "file x", "absolute": "link /etc",
	} {
		want[k] = v
	}
	all := map[string]string{"tree": "dir"}
	for k, v := range want {
		all["tree/"+k] = v
	}
	for _, sync := range []bool{false, true} {
		dir, path := root(t)
		var progress int64
		entries := 0
		o := &unpack.Options{Sync: sync, Progress: func(n int64) { progress += n }, Entry: func(string) { entries++ }}
		stats, err := unpack.Tree(t.Context(), m, tree.Cid(), dir, "tree", o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, list(t, path)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		content := int64(10001)
		for _, x := range many {
			content += int64(len(x.name))
		}
		if diff := cmp.Diff(unpack.Stats{Bytes: content, Files: 304, Dirs: 4, Symlinks: 2}, stats); diff != "" {
			t.Errorf("stats (-want +got):\n%s", diff)
		}
		if progress != content || entries != 309 {
			t.Errorf("progress %d of %d bytes, %d entries", progress, content, entries)
		}
	}
}

func TestTreeRoots(t *testing.T) {
	m := newMaker(t)
	rawLeaf := m.add(merkledag.NewRawNode([]byte("raw leaf")))
	inline, _ := digest.Sum(digest.Identity, []byte("inline"))
	for name, tt := range map[string]struct {
		c    cid.Cid
		want string
	}{
		"raw":      {rawLeaf.Cid(), "file raw leaf"},
		"identity": {inline.CID(cid.Raw), "file inline"},
		"dag-pb":   {m.file([]byte("pb"), false).Cid(), "file pb"},
		"symlink":  {m.symlink("target").Cid(), "link target"},
		"dir":      {m.dir().Cid(), "dir"},
	} {
		dir, path := root(t)
		if _, err := unpack.Tree(t.Context(), m, tt.c, dir, "out", nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(map[string]string{"out": tt.want}, list(t, path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A tree that tries to get out, or to write twice, leaves nothing at all.
func TestTreeHostile(t *testing.T) {
	m := newMaker(t)
	file := m.file([]byte("evil"), true)
	link := m.symlink("..")
	dirWith := func(name string) format.Node { return m.dir(item{"a", file}, item{"z", m.dir(item{name, file})}) }
	self := m.dir(item{"again", file})
	for range 300 {
		self = m.dir(item{"d", self})
	}
	pb := merkledag.NodeWithData([]byte("no UnixFS"))
	m.add(pb)
	tests := map[string]struct {
		node format.Node
		is   error
	}{
		"up":                                  {dirWith(".."), unpack.ErrName},
		"self":                                {dirWith("."), unpack.ErrName},
		"empty":                               {dirWith(""), unpack.ErrName},
		"absolute":                            {dirWith("/etc/passwd"), unpack.ErrName},
		"slash":                               {dirWith("a/b"), unpack.ErrName},
		"up and over":                         {dirWith("../../evil"), unpack.ErrName},
		"trailing slash":                      {dirWith("a/"), unpack.ErrName},
		"zero byte":                           {dirWith("a\x00b"), unpack.ErrName},
		"long":                                {dirWith(strings.Repeat("x", 256)), unpack.ErrName},
		"in a HAMT":                           {m.hamt(item{"fine", file}, item{"../evil", file}), unpack.ErrName},
		"file twice":                          {m.dir(item{"x", file}, item{"x", file}), fs.ErrExist},
		"dir twice":                           {m.dir(item{"x", m.dir()}, item{"x", m.dir(item{"y", file})}), fs.ErrExist},
		"write through a link to a directory": {m.dir(item{"x", link}, item{"x", m.dir(item{"evil", file})}), fs.ErrExist},
		"write through a link to a file":      {m.dir(item{"x", m.symlink("../evil")}, item{"x", file}), fs.ErrExist},
		"empty target":                        {m.dir(item{"x", m.symlink("")}), unpack.ErrName},
		"target with zero byte":               {m.dir(item{"x", m.symlink("a\x00b")}), unpack.ErrName},
		"long target":                         {m.dir(item{"x", m.symlink(strings.Repeat("x/", 3000))}), unpack.ErrName},
		"deep":                                {self, unpack.ErrLimit},
		"not UnixFS":                          {m.dir(item{"x", pb}), unixfs.ErrNotUnixFS},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir, path := root(t)
			_, err := unpack.Tree(t.Context(), m, tt.node.Cid(), dir, "tree", nil)
			if !errors.Is(err, tt.is) {
				t.Errorf("error %v, want %v", err, tt.is)
			}
			if strings.ContainsAny(fmt.Sprint(err), "\x00") {
				t.Errorf("error %q has unquoted bytes", err)
			}
			if diff := cmp.Diff(map[string]string{"out": "dir"}, list(t, filepath.Dir(path))); diff != "" {
				t.Errorf("left behind (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	m := newMaker(t)
	file := m.file(random(1000), true)
	tree := m.dir(item{"a", file}, item{"b", m.dir(item{"c", file})})
	for name, o := range map[string]*unpack.Options{
		"bytes":   {MaxBytes: 1999},
		"entries": {MaxEntries: 3},
		"depth":   {MaxDepth: 1},
	} {
		dir, path := root(t)
		if _, err := unpack.Tree(t.Context(), m, tree.Cid(), dir, "t", o); !errors.Is(err, unpack.ErrLimit) {
			t.Errorf("%s: error %v", name, err)
		}
		if left := list(t, path); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	dir, _ := root(t)
	if _, err := unpack.Tree(t.Context(), m, tree.Cid(), dir, "t", &unpack.Options{MaxBytes: 2000, MaxEntries: 4, MaxDepth: 2}); err != nil {
		t.Errorf("just within the limits: %v", err)
	}
}

// failing is a source that fails after some blocks, and looks at the output then.
type failing struct {
	block.Source
	left *int
	look func()
}

func (f failing) Blocks(ctx context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	if *f.left--; *f.left >= 0 {
		return f.Source.Blocks(ctx, d)
	}
	f.look()
	return func(yield func(block.Block, error) bool) { yield(block.Block{}, digest.ErrMismatch) }
}

// Whenever the source fails, nothing has the final name before, and nothing is left after.
func TestNothingLooksWhole(t *testing.T) {
	m := newMaker(t)
	file := m.file(random(1000), true)
	for name, node := range map[string]format.Node{"file": file, "tree": m.dir(item{"a", file}, item{"b", file})} {
		for after := range 14 {
			dir, path := root(t)
			left, looked := after, false
			src := failing{m, &left, func() {
				looked = true
				if _, err := dir.Lstat("out"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: the name is there before the content: %v", name, err)
				}
			}}
			_, err := unpack.Tree(t.Context(), src, node.Cid(), dir, "out", nil)
			if !looked {
				t.Fatalf("%s: the source did not fail after %d blocks", name, after)
			}
			if !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("%s: error %v", name, err)
			}
			if found := list(t, path); len(found) > 0 {
				t.Errorf("%s: left %v", name, found)
			}
		}
	}
}

// counting is a source that counts demands.
type counting struct {
	block.Source
	n map[digest.Digest]int
}

func (c counting) Blocks(ctx context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	c.n[d]++
	return c.Source.Blocks(ctx, d)
}

func TestDemandsOnce(t *testing.T) {
	m := newMaker(t)
	var many []item
	for i := range 50 {
		many = append(many, item{fmt.Sprint(i), m.add(merkledag.NewRawNode([]byte(fmt.Sprint("leaf ", i))))})
	}
	tree := m.dir(item{"a", m.file(random(1000), true)}, item{"b", m.hamt(many...)}, item{"c", m.symlink("a")})
	src := counting{m, map[digest.Digest]int{}}
	dir, _ := root(t)
	if _, err := unpack.Tree(t.Context(), src, tree.Cid(), dir, "x", nil); err != nil {
		t.Fatal(err)
	}
	for d, n := range src.n {
		if n != 1 {
			t.Errorf("%s was demanded %d times", d, n)
		}
	}
}

func TestCancel(t *testing.T) {
	m := newMaker(t)
	file := m.file(random(1000), true)
	mine := errors.New("enough")
	for name, node := range map[string]format.Node{"file": file, "tree": m.dir(item{"a", file}, item{"b", file})} {
		ctx, cancel := context.WithCancelCause(t.Context())
		dir, path := root(t)
		o := &unpack.Options{Progress: func(int64) { cancel(mine) }}
		if stats, err := unpack.Tree(ctx, m, node.Cid(), dir, "x", o); !errors.Is(err, mine) || stats.Bytes > 200 {
			t.Errorf("%s: %+v, error %v", name, stats, err)
		}
		if left := list(t, path); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

func TestExisting(t *testing.T) {
	m := newMaker(t)
	nodes := map[string]format.Node{"file": m.file([]byte("new"), true), "dir": m.dir(item{"new", m.file([]byte("new"), true)}), "link": m.symlink("new")}
	makeOld := map[string]func(path string) error{
		"file": func(p string) error { return os.WriteFile(p, []byte("old"), 0o666) },
		"dir": func(p string) error {
			return errors.Join(os.MkdirAll(p+"/old/older", 0o777), os.WriteFile(p+"/old/f", nil, 0o666))
		},
		"link": func(p string) error { return os.Symlink("..", p) },
	}
	want := map[string]map[string]string{
		"file": {"x": "file new"}, "dir": {"x": "dir", "x/new": "file new"}, "link": {"x": "link new"},
	}
	for oldKind, old := range makeOld {
		for kind, node := range nodes {
			t.Run(kind+" over "+oldKind, func(t *testing.T) {
				dir, path := root(t)
				if err := old(filepath.Join(path, "x")); err != nil {
					t.Fatal(err)
				}
				before := list(t, path)
				if _, err := unpack.Tree(t.Context(), m, node.Cid(), dir, "x", nil); !errors.Is(err, fs.ErrExist) {
					t.Errorf("error %v", err)
				}
				if diff := cmp.Diff(before, list(t, path)); diff != "" {
					t.Errorf("a refusal changed something:\n%s", diff)
				}
				if _, err := unpack.Tree(t.Context(), m, node.Cid(), dir, "x", &unpack.Options{Force: true}); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want[kind], list(t, path)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// What appears while the content is being written is not lost.
func TestExistingMeanwhile(t *testing.T) {
	dir, path := root(t)
	err := unpack.File(dir, "x", nil, func(w io.Writer) error {
		w.Write([]byte("new"))
		return os.WriteFile(filepath.Join(path, "x"), []byte("old"), 0o666)
	})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(map[string]string{"x": "file old"}, list(t, path)); diff != "" {
		t.Error(diff)
	}
}

func TestWriter(t *testing.T) {
	m := newMaker(t)
	data := random(5000)
	var out bytes.Buffer
	stats, err := unpack.Writer(t.Context(), m, m.file(data, false).Cid(), &out, nil)
	if err != nil || !bytes.Equal(out.Bytes(), data) || stats.Bytes != 5000 || stats.Files != 1 {
		t.Errorf("%d bytes, %+v, %v", out.Len(), stats, err)
	}
	for name, n := range map[string]format.Node{"dir": m.dir(), "link": m.symlink("x")} {
		if _, err := unpack.Writer(t.Context(), m, n.Cid(), &out, nil); !errors.Is(err, dag.ErrNotFile) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := unpack.Writer(t.Context(), m, m.file(data, true).Cid(), &out, &unpack.Options{MaxBytes: 10}); !errors.Is(err, unpack.ErrLimit) {
		t.Errorf("error %v", err)
	}
}

func TestCAR(t *testing.T) {
	m := newMaker(t)
	tree := m.dir(item{"a", m.file(random(1000), true)}, item{"b", m.dir()})
	sel := block.Selection{Root: tree.Cid(), Scope: block.ScopeAll}
	dir, path := root(t)
	err := unpack.File(dir, "out.car", nil, func(w io.Writer) error {
		n, err := unpack.CAR(t.Context(), dag.Walk(t.Context(), m, sel), tree.Cid(), w)
		if n != 16 {
			t.Errorf("wrote %d blocks", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(path, "out.car"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gocar.NewBlockReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Roots) != 1 || r.Roots[0] != tree.Cid() {
		t.Errorf("roots %v", r.Roots)
	}
	for want, err := range dag.Walk(t.Context(), m, sel) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Next()
		if err != nil || got.Cid() != want.CID || !bytes.Equal(got.RawData(), want.Data) {
			t.Fatalf("block %v, %v, want %s", got, err, want.CID)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last block: %v", err)
	}
	err = unpack.File(dir, "bad.car", nil, func(w io.Writer) error {
		left := 5
		_, err := unpack.CAR(t.Context(), dag.Walk(t.Context(), failing{m, &left, func() {}}, sel), tree.Cid(), w)
		return err
	})
	if _, there := list(t, path)["bad.car"]; !errors.Is(err, digest.ErrMismatch) || there {
		t.Errorf("error %v, left behind: %v", err, there)
	}
}
