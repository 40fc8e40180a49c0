package storehttp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp/internal/window"
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

func (h *Handler) exportValues(ctx context.Context, s *sender, r valuestore.Range) error {
	var w window.Gatherer
	flush := func() error {
		if groups, _ := w.Size(); groups == 0 {
			return nil
		}
		err := w.Flush(func(g ipni.SealedGroup, records valuestore.Records) error { return s.send(Frame{Values, g, records}) })
		if err == nil {
			err = s.send(Frame{Kind: Mark})
		}
		return err
	}
	order := window.NewOrder(r)
	for x, err := range h.o.Exporter.ExportSealed(ctx, r) {
		if err == nil {
			err = order.Check(x)
		}
		if err != nil {
			return err
		}
		w.Add(x)
		if groups, size := w.Size(); size+groups*headerSize >= windowBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (h *Handler) exportMetadata(ctx context.Context, s *sender, r valuestore.Range) error {
	var records valuestore.Records
	order := window.NewMetadataOrder(r)
	for m, err := range h.o.Exporter.ExportMetadata(ctx, r) {
		if err == nil {
			err = order.Check(m)
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
