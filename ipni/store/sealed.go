package store

import (
	"context"
	"fmt"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// PutSealed adds records, each an encrypted value key under its key, to a group.
func (s *Store) PutSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	err := error(nil)
	switch {
	case s.o.Compact:
		err = errCompact
	case len(records) > 0:
		err = s.groups.use(ctx, g, nil, func(tag valuestore.Tag) error {
			return s.values.Put(ctx, tag, records)
		})
	}
	if err != nil {
		return fmt.Errorf("store: put records: %w", err)
	}
	return nil
}

// DeleteSealed deletes records of a group.
func (s *Store) DeleteSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	if err := s.deleteSealed(ctx, g, records); err != nil {
		return fmt.Errorf("store: delete records: %w", err)
	}
	return nil
}

func (s *Store) deleteSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	if s.o.Compact {
		return errCompact
	}
	tags, err := s.groups.of(ctx, g, 0)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if err := s.values.Delete(ctx, tag, records); err != nil {
			return err
		}
	}
	return nil
}
