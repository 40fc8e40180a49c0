package storehttp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// maxWindow is the size of the largest window that is put into order, in bytes of records.
const maxWindow = 4 << 20

// Export yields what the node holds under the keys of r as it is sent: frames of values, with a
// mark behind each window of about a mebibyte, then frames of metadata. The records of a window,
// sorted by key, value and group, continue those of the windows before it; so each frame has
// many records of its group, however the groups are mixed. A frame is valid until the
// next one. An export that ends without an error is complete; one that breaks off can be asked for
// again from the last key on.
func (c *Client) Export(ctx context.Context, r valuestore.Range) iter.Seq2[Frame, error] {
	return c.stream(ctx, exportPath(r, ""))
}

// ExportSealed yields the records of r in the order of key, value and group. It holds a window of
// them. A node that sends something else is an error.
func (c *Client) ExportSealed(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Record, error] {
	path := exportPath(r, onlyValues)
	return func(yield func(cluster.Record, error) bool) {
		s := sorter{keys: r}
		for f, err := range c.stream(ctx, path) {
			if err == nil {
				if err = s.take(f); err != nil {
					err = c.failed(path, err)
				}
			}
			if err != nil {
				yield(cluster.Record{}, err)
				return
			}
			for _, x := range s.ready {
				if !yield(x, nil) {
					return
				}
			}
		}
		if len(s.records) > 0 {
			yield(cluster.Record{}, c.failed(path, malformed("records after the last mark")))
		}
	}
}

// sorter puts windows in order.
type sorter struct {
	keys    valuestore.Range
	data    valuestore.Records // of the window
	records []cluster.Record   // in data
	order
	ready []cluster.Record // the window that is complete, until the next frame
}

// take adds a frame to the window, or ends the window.
func (s *sorter) take(f Frame) error {
	s.ready = nil
	switch f.Kind {
	case Values:
		return s.gather(f)
	case Mark:
		return s.sort()
	}
	return malformed("a frame of kind %q among records", f.Kind)
}

func (s *sorter) gather(f Frame) error {
	if len(s.records) == 0 {
		s.data = s.data[:0]
	}
	if len(s.data)+len(f.Records) > maxWindow {
		return malformed("a window of more than %d bytes", maxWindow)
	}
	start := len(s.data)
	s.data = append(s.data, f.Records...)
	for e, err := range s.data[start:].All() {
		if err != nil {
			return err
		}
		if !s.keys.Contains(e.Key) {
			return malformed("the record of another key")
		}
		s.records = append(s.records, cluster.Record{Group: f.Group, Key: e.Key, Value: e.Value})
	}
	return nil
}

func (s *sorter) sort() error {
	slices.SortFunc(s.records, compareRecords)
	for _, x := range s.records {
		if !s.next(x) {
			return malformed("a window out of order")
		}
	}
	s.ready, s.records = s.records, s.records[:0]
	return nil
}

// ExportMetadata yields the metadata whose keys lie in r, in the order of the keys.
func (c *Client) ExportMetadata(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Metadata, error] {
	path := exportPath(r, onlyMetadata)
	return func(yield func(cluster.Metadata, error) bool) {
		var o metadataOrder
		for f, err := range c.stream(ctx, path) {
			if err == nil && f.Kind != Metadata {
				err = c.failed(path, malformed("a frame of kind %q among metadata", f.Kind))
			}
			for rest := f.Records; err == nil && len(rest) > 0; {
				var m cluster.Metadata
				if m, rest, err = cutMetadata(rest); err == nil && (!r.Contains(dhash.Key(m.Key)) || !o.next(m)) {
					err = malformed("metadata of another key, or out of order")
				}
				if err != nil {
					err = c.failed(path, err)
				} else if !yield(m, nil) {
					return
				}
			}
			if err != nil {
				yield(cluster.Metadata{}, err)
				return
			}
		}
	}
}

func cutMetadata(r valuestore.Records) (cluster.Metadata, valuestore.Records, error) {
	e, n, err := cut(r, maxSealed)
	if err != nil {
		return cluster.Metadata{}, nil, err
	}
	return cluster.Metadata{Key: dhash.MetadataKey(e.Key), Sealed: e.Value}, r[n:], nil
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
	var w window
	for i, x := range all {
		if len(x.Value) == 0 || len(x.Value) > valuestore.MaxValue {
			return malformed("a value of %d bytes", len(x.Value))
		}
		w.add(x)
		if w.size < requestBytes && i < len(all)-1 {
			continue
		}
		var frames []Frame
		w.flush(func(f Frame) error { frames = append(frames, f); return nil })
		if err := c.WriteFrame(ctx, remove, frames...); err != nil {
			return err
		}
	}
	return nil
}
