package segstore

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
)

// Put implements [valuestore.Store]. Of a put that fails or is cancelled, some records may be there.
func (s *Store) Put(ctx context.Context, tag valuestore.Tag, records valuestore.Records) error {
	if err := s.write(ctx, oplog.Put, tag, records); err != nil {
		return fmt.Errorf("segstore: put: %w", err)
	}
	return nil
}

// Delete implements [valuestore.Store]. What may be there is not looked for: a delete costs as much
// space as a put, until it has met the record in a merge.
func (s *Store) Delete(ctx context.Context, tag valuestore.Tag, records valuestore.Records) error {
	if err := s.write(ctx, oplog.Delete, tag, records); err != nil {
		return fmt.Errorf("segstore: delete: %w", err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, kind oplog.Kind, tag valuestore.Tag, records valuestore.Records) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if tag > valuestore.MaxTag {
		return fmt.Errorf("tag %d is above %d: %w", tag, valuestore.MaxTag, fs.ErrInvalid)
	}
	pieces, err := oplog.Split(records)
	if err != nil {
		return err
	}
	var all []*oplog.Operation
	for _, p := range pieces {
		all = append(all, &oplog.Operation{Kind: kind, Tag: tag, Records: p})
	}
	return s.queue.Do(ctx, all...)
}

// Remove implements [valuestore.Store]. Tag 0 cannot be removed, it matches fs.ErrInvalid.
func (s *Store) Remove(ctx context.Context, tags ...valuestore.Tag) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, tag := range tags {
		if tag == 0 || tag > valuestore.MaxTag {
			return fmt.Errorf("segstore: remove: tag %d: %w", tag, fs.ErrInvalid)
		}
	}
	var all []*oplog.Operation
	for part := range slices.Chunk(tags, oplog.MaxTags) {
		all = append(all, &oplog.Operation{Kind: oplog.Remove, Tags: part})
	}
	if err := s.queue.Do(ctx, all...); err != nil {
		return fmt.Errorf("segstore: remove: %w", err)
	}
	return nil
}
