package content

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashstream/hashstream/internal/cli/app"
)

// together is several arguments as the entries of one directory, each under its
// own name: what add --wrap stores.
type together struct {
	names   []string // sorted
	members map[string]member
}

// member is one entry: name in root, which is an open directory.
type member struct {
	root *os.Root
	name string
}

var _ fs.ReadLinkFS = (*together)(nil)

// openTogether opens the directories of the arguments. The caller closes them.
func openTogether(ins []input) (*together, error) {
	t := &together{members: map[string]member{}}
	for _, in := range ins {
		if err := t.open(in); err != nil {
			t.Close()
			return nil, err
		}
	}
	slices.Sort(t.names)
	return t, nil
}

func (t *together) open(in input) error {
	switch _, twice := t.members[in.name]; {
	case in.path == "":
		return app.Usagef("standard input has no name among others; add it by itself")
	case twice:
		return app.Usagef("two arguments are named %q; they cannot be wrapped together", in.name)
	}
	dir, name := filepath.Split(in.path)
	if in.dir {
		dir, name = in.path, "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	t.members[in.name] = member{root, name}
	t.names = append(t.names, in.name)
	return nil
}

// Close closes the directories of the members.
func (t *together) Close() {
	for _, m := range t.members {
		m.root.Close()
	}
}

// find returns where name lies. It must not be the root.
func (t *together) find(op, name string) (fs.FS, string, error) {
	first, rest, _ := strings.Cut(name, "/")
	m, ok := t.members[first]
	if !ok || !fs.ValidPath(name) {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return m.root.FS(), path.Join(m.name, rest), nil
}

// Open implements [fs.FS]. The root cannot be opened, only listed.
func (t *together) Open(name string) (fs.File, error) {
	fsys, at, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	return fsys.Open(at)
}

// ReadDir implements [fs.ReadDirFS].
func (t *together) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		fsys, at, err := t.find("readdir", name)
		if err != nil {
			return nil, err
		}
		return fs.ReadDir(fsys, at)
	}
	var entries []fs.DirEntry
	for _, n := range t.names {
		info, err := t.Lstat(n)
		if err != nil {
			return nil, err
		}
		entries = append(entries, fs.FileInfoToDirEntry(named{info, n}))
	}
	return entries, nil
}

// Lstat implements [fs.ReadLinkFS].
func (t *together) Lstat(name string) (fs.FileInfo, error) {
	if name == "." {
		return rootInfo{}, nil
	}
	fsys, at, err := t.find("lstat", name)
	if err != nil {
		return nil, err
	}
	return fs.Lstat(fsys, at)
}

// ReadLink implements [fs.ReadLinkFS].
func (t *together) ReadLink(name string) (string, error) {
	fsys, at, err := t.find("readlink", name)
	if err != nil {
		return "", err
	}
	return fs.ReadLink(fsys, at)
}

// named is what an entry is, under the name that it has here.
type named struct {
	fs.FileInfo
	name string
}

func (n named) Name() string { return n.name }

// rootInfo describes the directory of all members.
type rootInfo struct{}

func (rootInfo) Name() string       { return "." }
func (rootInfo) Size() int64        { return 0 }
func (rootInfo) Mode() fs.FileMode  { return fs.ModeDir | 0o755 }
func (rootInfo) ModTime() time.Time { return time.Time{} }
func (rootInfo) IsDir() bool        { return true }
func (rootInfo) Sys() any           { return nil }
