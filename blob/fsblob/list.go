package fsblob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hashstream/hashstream/blob"
)

// List yields the objects whose key begins with prefix, ordered by key. It reads
// one directory at a time, whole.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if _, err := s.walk(ctx, ".", prefix, yield); err != nil {
			yield(blob.Info{}, fmt.Errorf("fsblob: list %q: %w", prefix, cause(err)))
		}
	}
}

// walk yields what dir holds. It reports whether the consumer wants more.
func (s *Store) walk(ctx context.Context, dir, prefix string, yield func(blob.Info, error) bool) (bool, error) {
	keys, err := s.children(dir, prefix)
	if err != nil {
		return false, err
	}
	for _, key := range keys {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		sub, isDir := strings.CutSuffix(key, "/")
		if isDir {
			if more, err := s.walk(ctx, sub, prefix, yield); !more || err != nil {
				return more, err
			}
			continue
		}
		fi, err := s.root.Stat(key)
		if err != nil || !fi.Mode().IsRegular() {
			continue // gone since, or a link to something that is no object
		}
		if !yield(info(key, fi), nil) {
			return false, nil
		}
	}
	return true, nil
}

// children returns the paths in dir that prefix allows, in the order of the keys
// below them. Directories end with a slash, which is what orders them among files.
func (s *Store) children(dir, prefix string) ([]string, error) {
	d, err := s.open(dir, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) && dir != "." {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		key := path.Join(dir, e.Name())
		if key == tmpDir || blob.CheckKey(key) != nil {
			continue
		}
		if e.IsDir() {
			key += "/"
		} else if !e.Type().IsRegular() && e.Type() != fs.ModeSymlink {
			continue
		}
		if strings.HasPrefix(key, prefix) || e.IsDir() && strings.HasPrefix(prefix, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}
