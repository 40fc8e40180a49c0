package foreigntest_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/boxo/files"
	unixfile "github.com/ipfs/boxo/ipld/unixfs/file"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// tree tells what is at each path of a directory, in a form that can be compared
// and printed.
type tree map[string]string

func (tr tree) dir(name string)          { tr[path.Clean(name)] = "directory" }
func (tr tree) link(name, target string) { tr[path.Clean(name)] = "link to " + target }
func (tr tree) file(name string, data []byte) {
	tr[path.Clean(name)] = fmt.Sprintf("%d bytes %x", len(data), sha256.Sum256(data))
}

// names lists what is directly in a directory.
func (tr tree) names(dir string) []string {
	var names []string
	for name := range tr {
		if name != "." && path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names
}

func random(seed byte, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// manyName is the name of an entry of the directory "many": so long that by every
// profile the directory is a HAMT.
func manyName(i int) string { return fmt.Sprintf("%04d-%s", i, strings.Repeat("n", 200)) }

const entriesOfMany = 1300

// awkward is a name with all that URLs, HTML and headers treat specially.
const awkward = `a b%20c?d#e&f+g"h'i<j>;k=ü.txt`

// site writes a directory of many shapes and returns what its files hold.
func site(t *testing.T) (dir string, contents map[string][]byte) {
	t.Helper()
	dir = t.TempDir()
	contents = map[string][]byte{
		"empty":                   {},
		"one":                     {'1'},
		"text.txt":                []byte("hello world\n"),
		"again.txt":               []byte("hello world\n"),
		"chunk":                   random(1, 1<<20),
		"chunk+1":                 random(2, 1<<20+1),
		"big.bin":                 random(3, 3_000_000),
		"nested/copy.bin":         random(3, 3_000_000),
		"zeros":                   make([]byte, 2_500_000),
		"nested/a/b/c/d/e/f/deep": random(4, 70_000),
		"www/index.html":          []byte("<!DOCTYPE html><title>x</title>"),
		awkward:                   []byte("awkward"),
	}
	for i := range entriesOfMany {
		contents["many/"+manyName(i)] = fmt.Appendf(nil, "entry %d", i/2)
	}
	for name, data := range contents {
		name = filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, data, 0o600))
	}
	must(t, os.Mkdir(filepath.Join(dir, "nothing"), 0o755))
	for name, target := range map[string]string{"link": "text.txt", "nested/up": "../big.bin", "dangling": "no/where"} {
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	return dir, contents
}

// onDisk reads a directory.
func onDisk(t *testing.T, dir string) tree {
	t.Helper()
	tr := tree{}
	fsys := os.DirFS(dir)
	must(t, fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			tr.dir(name)
		case e.Type() == fs.ModeSymlink:
			target, err := fs.ReadLink(fsys, name)
			tr.link(name, target)
			return err
		default:
			data, err := fs.ReadFile(fsys, name)
			tr.file(name, data)
			return err
		}
		return nil
	}))
	return tr
}

// inBoxo reads what boxo takes for a file or directory.
func inBoxo(t *testing.T, root files.Node) tree {
	t.Helper()
	tr := tree{}
	must(t, files.Walk(root, func(name string, n files.Node) error {
		switch n := n.(type) {
		case *files.Symlink:
			tr.link(name, n.Target)
		case files.Directory:
			tr.dir(name)
		case files.File:
			data, err := io.ReadAll(n)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			tr.file(name, data)
		}
		return nil
	}))
	return tr
}

// inDAG reads the UnixFS tree below a root of a DAG service.
func inDAG(t *testing.T, dag ipld.DAGService, root cid.Cid) tree {
	t.Helper()
	node, err := dag.Get(t.Context(), root)
	must(t, err)
	file, err := unixfile.NewUnixfsFile(t.Context(), dag, node)
	must(t, err)
	defer file.Close()
	return inBoxo(t, file)
}
