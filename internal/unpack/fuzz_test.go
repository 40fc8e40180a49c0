package unpack_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/ipld/merkledag"

	"github.com/hashstream/hashstream/internal/unpack"
)

// FuzzName writes a file under any name: it lands where it should, or nowhere.
func FuzzName(f *testing.F) {
	for _, s := range []string{"a", "..", "../x", "/x", "a/b", "", ".", "a\x00", "\xff", `a\b`, "...", strings.Repeat("é", 130)} {
		f.Add(s, "..")
	}
	f.Fuzz(func(t *testing.T, name, target string) {
		m := newMaker(t)
		file := m.add(merkledag.NewRawNode([]byte("x")))
		dir, path := root(t)
		tree := m.dir(item{"0", m.symlink(target)}, item{name, file})
		_, err := unpack.Tree(t.Context(), m, tree.Cid(), dir, "tree", nil)
		want := map[string]string{"out": "dir"}
		if err == nil {
			want["out/tree"], want["out/tree/0"], want["out/tree/"+name] = "dir", "link "+target, "file x"
		}
		if diff := cmp.Diff(want, list(t, filepath.Dir(path))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	})
}

func ExampleFile() {
	path, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(path)
	dir, err := os.OpenRoot(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer dir.Close()
	write := func(w io.Writer) error { _, err := io.WriteString(w, "content"); return err }
	fmt.Println(unpack.File(dir, "out", nil, write))
	fmt.Println(unpack.File(dir, "out", nil, write))
	fmt.Println(unpack.File(dir, "cut", nil, func(io.Writer) error { return context.Canceled }))
	data, err := dir.ReadFile("out")
	fmt.Println(string(data), err)
	// Output:
	// <nil>
	// unpack: write "out": file already exists
	// unpack: write "cut": context canceled
	// content <nil>
}
