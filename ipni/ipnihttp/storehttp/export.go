package storehttp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// windowBytes is how much an export sends between marks, more or less.
const windowBytes = 1 << 20

// What an export can be limited to.
const (
	onlyValues   = "values"
	onlyMetadata = "metadata"
)

// exportPath is the inverse of parseExport.
func exportPath(r valuestore.Range, only string) string {
	path := "/partition/" + hex.EncodeToString(r.From[:]) + "-" + hex.EncodeToString(r.To[:])
	if only != "" {
		path += "?only=" + only
	}
	return path
}

// parseExport reads what an export is of: two beginnings of keys in hex. The range is of all keys
// from the first one that begins with from to the last one that begins with to.
func parseExport(r *http.Request, name string) (keys valuestore.Range, only string, err error) {
	from, to, _ := strings.Cut(name, "-")
	keys = valuestore.Everything()
	if !parseEnd(&keys.From, from) || !parseEnd(&keys.To, to) || bytes.Compare(keys.From[:], keys.To[:]) > 0 {
		return keys, "", wire.Refuse(http.StatusBadRequest, "a partition is the beginnings of two keys in hex, such as 00-3f")
	}
	switch only = r.URL.Query().Get("only"); only {
	case "", onlyValues, onlyMetadata:
		return keys, only, nil
	}
	return keys, "", wire.Refuse(http.StatusBadRequest, "only %s or %s", onlyValues, onlyMetadata)
}

func parseEnd(key *dhash.Key, text string) bool {
	if len(text) == 0 || len(text) > 2*len(key) {
		return false
	}
	_, err := hex.Decode(key[:], []byte(text))
	return err == nil
}

// export answers the records and the metadata of a range of keys.
func (h *Handler) export(x *exchange, name string) error {
	keys, only, err := parseExport(x.r, name)
	if err != nil {
		return err
	}
	x.status, x.done.Binary = http.StatusOK, true
	s := h.newSender(x)
	if only != onlyMetadata {
		err = h.exportValues(x.r.Context(), s, keys)
	}
	if err == nil && only != onlyValues {
		err = h.exportMetadata(x.r.Context(), s, keys)
	}
	switch {
	case errors.Is(err, errGone):
		return nil
	case err != nil:
		return s.broken(wire.LookupStatus(err), err)
	}
	return s.finish(Frame{Kind: Values})
}

// errOrder is a source that yields what an export cannot be made of.
var errOrder = malformed("an export out of order, out of its range, or with a value that is too large")

func (h *Handler) exportValues(ctx context.Context, s *sender, r valuestore.Range) error {
	var (
		o order
		w window
	)
	for rec, err := range h.o.Exporter.ExportSealed(ctx, r) {
		if err == nil && (!r.Contains(rec.Key) || !o.next(rec)) {
			err = errOrder
		}
		if err != nil {
			return err
		}
		if w.add(rec); w.size >= windowBytes {
			if err := w.flush(s.send); err != nil {
				return err
			}
			if err := s.send(Frame{Kind: Mark}); err != nil {
				return err
			}
		}
	}
	if w.size == 0 {
		return nil
	}
	if err := w.flush(s.send); err != nil {
		return err
	}
	return s.send(Frame{Kind: Mark})
}

func (h *Handler) exportMetadata(ctx context.Context, s *sender, r valuestore.Range) error {
	var (
		o       metadataOrder
		records valuestore.Records
	)
	for m, err := range h.o.Exporter.ExportMetadata(ctx, r) {
		if err == nil && (!r.Contains(dhash.Key(m.Key)) || !o.next(m)) {
			err = errOrder
		}
		if err != nil {
			return err
		}
		if records = records.Append(dhash.Key(m.Key), m.Sealed); len(records) >= sendBytes {
			if err := s.send(Frame{Kind: Metadata, Records: records}); err != nil {
				return err
			}
			records = records[:0]
		}
	}
	return s.send(Frame{Kind: Metadata, Records: records})
}

// order is what records come in: by key, value and group, each once.
type order struct {
	last cluster.Record
	any  bool
}

// next reports whether x may come now.
func (o *order) next(x cluster.Record) bool {
	if len(x.Value) == 0 || len(x.Value) > valuestore.MaxValue || o.any && compareRecords(o.last, x) >= 0 {
		return false
	}
	value := append(o.last.Value[:0], x.Value...)
	o.last, o.any = x, true
	o.last.Value = value
	return true
}

func compareRecords(x, y cluster.Record) int {
	if c := bytes.Compare(x.Key[:], y.Key[:]); c != 0 {
		return c
	}
	return cmp.Or(
		bytes.Compare(x.Value, y.Value),
		bytes.Compare(x.Group.Provider[:], y.Group.Provider[:]),
		bytes.Compare(x.Group.Context[:], y.Group.Context[:]),
		cmp.Compare(x.Group.Epoch, y.Group.Epoch),
	)
}

// metadataOrder is what metadata comes in: by key, each once, none that is absent.
type metadataOrder struct {
	last dhash.MetadataKey
	any  bool
}

func (o *metadataOrder) next(m cluster.Metadata) bool {
	if len(m.Sealed) == 0 || len(m.Sealed) > maxSealed || o.any && bytes.Compare(o.last[:], m.Key[:]) >= 0 {
		return false
	}
	o.last, o.any = m.Key, true
	return true
}

// window gathers records into one frame for each group. The zero value is empty.
type window struct {
	size   int // bytes of frames
	data   valuestore.Records
	pieces []piece
	groups []gathered
	at     map[ipni.SealedGroup]int // in groups
	sorted valuestore.Records
}

// piece is the next record of data.
type piece struct{ size, group int }

// gathered is the records of a group, whose place in sorted ends at end.
type gathered struct {
	ipni.SealedGroup
	size, end int
}

func (w *window) add(x cluster.Record) {
	i, ok := w.at[x.Group]
	if !ok {
		if w.at == nil {
			w.at = map[ipni.SealedGroup]int{}
		}
		i = len(w.groups)
		w.at[x.Group] = i
		w.groups = append(w.groups, gathered{SealedGroup: x.Group})
		w.size += headerSize
	}
	before := len(w.data)
	w.data = w.data.Append(x.Key, x.Value)
	n := len(w.data) - before
	w.pieces = append(w.pieces, piece{n, i})
	w.groups[i].size += n
	w.size += n
}

// flush sends the frames, which are valid until the next flush, and makes w empty.
func (w *window) flush(send func(Frame) error) error {
	end := 0
	for i := range w.groups {
		w.groups[i].end = end // of nothing yet
		end += w.groups[i].size
	}
	if cap(w.sorted) < end {
		w.sorted = make(valuestore.Records, end, max(end, cap(w.data)))
	}
	w.sorted = w.sorted[:end]
	rest := w.data
	for _, p := range w.pieces {
		g := &w.groups[p.group]
		g.end += copy(w.sorted[g.end:], rest[:p.size])
		rest = rest[p.size:]
	}
	groups := w.groups
	w.size, w.data, w.pieces, w.groups = 0, w.data[:0], w.pieces[:0], w.groups[:0]
	clear(w.at)
	for _, g := range groups {
		if err := send(Frame{Values, g.SealedGroup, w.sorted[g.end-g.size : g.end]}); err != nil {
			return err
		}
	}
	return nil
}
