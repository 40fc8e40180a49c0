// Package catalog keeps the names of the files of a store in its directory, and writes and reads the
// manifest with what belongs to it. docs/formats/segment.md describes the bytes.
//
// # Errors
//
// Damage matches [digest.ErrMismatch].
//
// One goroutine at a time writes.
package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/tagset"
)

// Manifest is the name of the file that says what the store consists of.
const Manifest = "MANIFEST"

// Dir is a directory.
type Dir struct {
	path string
	sync func(name string) error // of the directory of a file

	removed *tagset.Set // what the manifest names
	file    layout.ManifestTags
}

// New returns the directory at path. sync makes the names in the directory of a file durable.
func New(path string, sync func(name string) error) *Dir { return &Dir{path: path, sync: sync} }

// Path returns the name of the file with a number.
func (d *Dir) Path(number uint64, kind string) string {
	return filepath.Join(d.path, fmt.Sprintf("%016x.%s", number, kind))
}

// Entry is a file with a number.
type Entry struct {
	Number uint64
	Kind   string // seg, log or tags
}

// List returns the files with numbers, in the order of these.
func (d *Dir) List() (all []Entry, err error) {
	names, err := os.ReadDir(d.path) // in the order of their names
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		digits, kind, _ := strings.Cut(n.Name(), ".")
		number, err := strconv.ParseUint(digits, 16, 64)
		if err == nil && len(digits) == 16 && (kind == "seg" || kind == "log" || kind == "tags") {
			all = append(all, Entry{number, kind})
		}
	}
	return all, nil
}

// Write makes m what the next Read finds. removed becomes a file of its own with a number, unless
// it is what it was before. If replaced, m is what is there although an error came after that: what it
// names is to be kept, and what it does not name too.
func (d *Dir) Write(m layout.Manifest, removed *tagset.Set, number uint64) (replaced bool, err error) {
	file := d.file
	if removed != d.removed {
		if file, err = d.writeTags(removed, number); err != nil {
			return false, err
		}
	}
	m.Tags = file
	if replaced, err = d.replace(m); !replaced {
		if file != d.file {
			d.remove(file)
		}
		return false, err
	}
	old := d.file
	d.removed, d.file = removed, file
	if err == nil && old != file {
		d.remove(old)
	}
	return true, err
}

func (d *Dir) writeTags(removed *tagset.Set, number uint64) (file layout.ManifestTags, err error) {
	if removed.Empty() {
		return file, nil
	}
	b := removed.Encode()
	file = layout.ManifestTags{Number: number, Size: int64(len(b))}
	if err := writeFile(d.Path(number, "tags"), b); err != nil {
		d.remove(file)
		return file, err
	}
	return file, nil
}

// remove removes a file of tags. What is left of it, is deleted when the store is opened.
func (d *Dir) remove(file layout.ManifestTags) {
	if file.Number != 0 {
		_ = os.Remove(d.Path(file.Number, "tags"))
	}
}

func (d *Dir) replace(m layout.Manifest) (replaced bool, err error) {
	b, err := m.Encode()
	if err != nil {
		return false, err
	}
	name := filepath.Join(d.path, Manifest)
	if err := writeFile(name+".tmp", b); err != nil {
		return false, err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return false, err
	}
	return true, d.sync(name)
}

func writeFile(name string, b []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Read returns what was written last, or an error that matches [io/fs.ErrNotExist] if nothing was.
func (d *Dir) Read() (*layout.Manifest, *tagset.Set, error) {
	name := filepath.Join(d.path, Manifest)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, err
	}
	m, err := layout.ParseManifest(b)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	if m.Tags.Number == 0 {
		return m, tagset.FromMap(m.Removed), nil
	}
	name = d.Path(m.Tags.Number, "tags")
	if b, err = os.ReadFile(name); err != nil {
		return nil, nil, fmt.Errorf("the manifest names a file: %v", err) // its absence is not that of a store
	}
	if int64(len(b)) != m.Tags.Size {
		return nil, nil, fmt.Errorf("%s is %d bytes, not %d: %w", name, len(b), m.Tags.Size, digest.ErrMismatch)
	}
	set, err := tagset.Parse(b)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	d.removed, d.file = set, m.Tags
	return m, set, nil
}
