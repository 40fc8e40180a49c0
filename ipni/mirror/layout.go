package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
)

// layoutKey is where a store on a file system says how names are split into directories. A
// bucket has no such object, and no directories.
const layoutKey = ".filestore-config.json"

const (
	layoutVersion = "v1"
	maxLayout     = 64 << 10 // bytes
	maxName       = 128      // parts of a layout together, more than any name has
)

// layout is how names are split: the lengths of their leading parts, each of which is a
// directory.
type layout struct{ split []int }

type layoutFile struct {
	Version   string
	PathSplit []int
}

func newLayout(split []int) (layout, error) {
	sum := 0
	for _, n := range split {
		if n <= 0 || n > maxName || sum+n > maxName {
			return layout{}, fmt.Errorf("path split %v: %w", split, fs.ErrInvalid)
		}
		sum += n
	}
	return layout{slices.Clone(split)}, nil
}

func readLayout(ctx context.Context, g blob.Getter) (layout, error) {
	b, err := readSmall(ctx, g, layoutKey, maxLayout)
	if err != nil {
		return layout{}, err
	}
	var f layoutFile
	if err := json.Unmarshal(b, &f); err != nil {
		return layout{}, fmt.Errorf("%w: %s: %w", digest.ErrMismatch, layoutKey, err)
	}
	if f.Version != layoutVersion {
		return layout{}, fmt.Errorf("%w: %s is of version %q", digest.ErrMismatch, layoutKey, f.Version)
	}
	l, err := newLayout(f.PathSplit)
	if err != nil {
		return layout{}, fmt.Errorf("%w: %s: %w", digest.ErrMismatch, layoutKey, err)
	}
	return l, nil
}

func (l layout) encode() ([]byte, error) {
	return json.Marshal(layoutFile{layoutVersion, l.split})
}

// key returns where a name lies. What stands before its first dot is split.
func (l layout) key(name string) string {
	stem := name
	if i := strings.IndexByte(name, '.'); i > 0 {
		stem = name[:i]
	}
	var dirs []string
	at := 0
	for _, n := range l.split {
		if at+n > len(stem) {
			break
		}
		dirs = append(dirs, stem[at:at+n])
		at += n
	}
	return path.Join(append(dirs, name)...)
}
