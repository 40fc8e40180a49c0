package backends

import (
	"context"
	"fmt"

	"github.com/hashstream/hashstream/blob"
)

// Stat describes the file at path, the canonical name of a file below a root.
func (s *Sources) Stat(ctx context.Context, path string) (blob.Info, error) {
	r, key, err := s.find(path)
	if err != nil {
		return blob.Info{}, err
	}
	store, _, err := r.open(ctx, s.o)
	if err != nil {
		return blob.Info{}, err
	}
	info, err := store.Stat(ctx, key)
	if err != nil {
		return blob.Info{}, fmt.Errorf("backends: %s: %w", path, err)
	}
	return info, nil
}
