package storehttp

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp/internal/window"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Export yields what the node holds under the keys of r as it is sent: frames of values, with a
// mark behind each window of about a mebibyte, then frames of metadata. The records of a window,
// sorted by key, value and group, continue those of the windows before it; so each frame has
// many records of its group, however the groups are mixed. A frame is valid until the
// next one. An export that ends without an error is complete; one that breaks off can be asked for
// again from the last key on.
func (c *Client) Export(ctx context.Context, r valuestore.Range) iter.Seq2[Frame, error] {
	return c.stream(ctx, c.caller, exportPath(r, ""))
}

// ExportSealed yields the records of r in the order of key, value and group. It holds a window of
// them. A node that sends something else is an error.
func (c *Client) ExportSealed(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Record, error] {
	path := exportPath(r, onlyValues)
	return func(yield func(cluster.Record, error) bool) {
		s := window.NewSorter(r)
		for f, err := range c.stream(ctx, c.caller, path) {
			if err != nil {
				yield(cluster.Record{}, err)
				return
			}
			var ready []cluster.Record
			switch f.Kind {
			case Values:
				err = s.Add(f.Group, f.Records)
			case Mark:
				ready, err = s.Sort()
			default:
				err = malformed("a frame of kind %q among records", f.Kind)
			}
			if err != nil {
				yield(cluster.Record{}, c.failed(path, err))
				return
			}
			for _, x := range ready {
				if !yield(x, nil) {
					return
				}
			}
		}
		if !s.Empty() {
			yield(cluster.Record{}, c.failed(path, malformed("records after the last mark")))
		}
	}
}

// ExportMetadata yields the metadata whose keys lie in r, in the order of the keys.
func (c *Client) ExportMetadata(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Metadata, error] {
	path := exportPath(r, onlyMetadata)
	return func(yield func(cluster.Metadata, error) bool) {
		order := window.NewMetadataOrder(r)
		for f, err := range c.stream(ctx, c.caller, path) {
			if err != nil {
				yield(cluster.Metadata{}, err)
				return
			}
			if f.Kind != Metadata {
				err = malformed("a frame of kind %q among metadata", f.Kind)
			}
			for rest := f.Records; err == nil && len(rest) > 0; {
				var e valuestore.Entry
				var n int
				if e, n, err = cut(rest, maxSealed); err != nil {
					break
				}
				m := cluster.Metadata{Key: dhash.MetadataKey(e.Key), Sealed: e.Value}
				if err = order.Check(m); err == nil && !yield(m, nil) {
					return
				}
				rest = rest[n:]
			}
			if err != nil {
				yield(cluster.Metadata{}, c.failed(path, err))
				return
			}
		}
	}
}

// ImportSealed puts and deletes records of any groups, in as few requests as their size allows. No
// record may be in both. A foreign store knows no groups: that matches [errors.ErrUnsupported].
func (c *Client) ImportSealed(ctx context.Context, put, del []cluster.Record) error {
	if c.foreign {
		return fmt.Errorf("storehttp: import into %s, a store without groups: %w", c.Name(), errors.ErrUnsupported)
	}
	if err := c.importAll(ctx, false, put); err != nil {
		return err
	}
	return c.importAll(ctx, true, del)
}

func (c *Client) importAll(ctx context.Context, remove bool, all []cluster.Record) error {
	var w window.Gatherer
	for i, x := range all {
		if len(x.Value) == 0 || len(x.Value) > valuestore.MaxValue {
			return malformed("a value of %d bytes", len(x.Value))
		}
		w.Add(x)
		if groups, size := w.Size(); size+groups*headerSize < requestBytes && i < len(all)-1 {
			continue
		}
		var frames []Frame
		err := w.Flush(func(g ipni.SealedGroup, records valuestore.Records) error {
			frames = append(frames, Frame{Values, g, records})
			return nil
		})
		if err == nil {
			err = c.WriteFrame(ctx, remove, frames...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
