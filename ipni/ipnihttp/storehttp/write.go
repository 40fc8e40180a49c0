package storehttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/mr-tron/base58"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp/internal/body"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp/merges"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// parallelMetadata is how many values of metadata are written at once, so that durable
// writes are shared.
const parallelMetadata = 16

// Frames of many groups are written in the same way.
const (
	parallelGroups = 64
	smallFrame     = 64 << 10 // bytes of a frame below which it waits for others
	heldFrames     = 1 << 20  // bytes that wait
)

// body returns what a request sends, decompressed and bounded, and whether it is frames.
func (h *Handler) body(x *exchange, limit int64) (in io.Reader, binary bool, err error) {
	in, binary, x.back, err = h.bodies.Open(x.w, x.r, limit)
	return in, binary, err
}

// stored is an error of the store, told from those of reading.
type stored struct{ error }

func (s stored) Unwrap() error { return s.error }

// inStore makes err, if there is one, an error of the store.
func inStore(err error) error {
	if err == nil {
		return nil
	}
	return stored{err}
}

// written tells failures of the store, which may pass, from those of the request.
func written(err error) error {
	if s := (stored{}); err == nil || errors.As(err, &s) {
		return err
	}
	return body.Failed(err)
}

// records puts or deletes records.
func (h *Handler) records(x *exchange) error {
	put, least := h.store.PutSealed, dhash.Overhead
	remove := x.r.Method == http.MethodDelete
	if remove {
		put, least = h.store.DeleteSealed, 1 // what was taken once
	}
	sent, binary, err := h.body(x, h.o.MaxBody)
	if err != nil {
		return err
	}
	x.done.Binary = binary
	if binary {
		in := NewReader(sent)
		in.least = least
		return written(h.frames(x, in, remove, put))
	}
	m := h.parsers.Get().(*merges.Reader)
	defer h.parsers.Put(m)
	m.Least = least
	return written(m.Read(sent, func(r valuestore.Records) error {
		x.done.Bytes += int64(len(r))
		return inStore(put(x.r.Context(), ipni.SealedGroup{}, r))
	}))
}

// frames puts or deletes what stands in frames. Small ones, as those of many groups are, are
// written together, so that durable writes are shared.
func (h *Handler) frames(x *exchange, in *Reader, remove bool, put func(context.Context, ipni.SealedGroup, valuestore.Records) error) error {
	var waiting []Frame
	held := 0
	flush := func() error {
		group, ctx := errgroup.WithContext(x.r.Context())
		group.SetLimit(parallelGroups)
		for _, f := range waiting {
			group.Go(func() error { return put(ctx, f.Group, f.Records) })
		}
		waiting, held = waiting[:0], 0
		return group.Wait()
	}
	for {
		f, err := in.Next()
		if err != nil && err != io.EOF {
			return err // what waits was not acknowledged
		}
		x.done.Bytes += int64(len(f.Records))
		small := f.Kind == Values && len(f.Records) < smallFrame
		switch {
		case err == io.EOF:
			return inStore(flush())
		case small:
			f.Records = bytes.Clone(f.Records)
			waiting = append(waiting, f)
			if held += headerSize + len(f.Records); held >= heldFrames {
				err = flush()
			}
		case f.Kind == Values:
			err = put(x.r.Context(), f.Group, f.Records)
		case f.Kind == Metadata:
			err = h.metadataFrame(x.r.Context(), f, remove)
		}
		if err != nil {
			return stored{err}
		}
	}
}

func (h *Handler) metadataFrame(ctx context.Context, f Frame, remove bool) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelMetadata)
	for rest := f.Records; len(rest) > 0; {
		e, n, err := cut(rest, maxSealed)
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		rest = rest[n:]
		if remove || len(e.Value) == 0 {
			e.Value = nil
		}
		group.Go(func() error { return h.store.PutSealedMetadata(ctx, dhash.MetadataKey(e.Key), e.Value) })
	}
	return group.Wait()
}

// small decodes a request that is one document.
func (h *Handler) small(x *exchange, v any) error {
	sent, binary, err := h.body(x, maxSmall)
	if err != nil {
		return err
	}
	if binary {
		return wire.Refuse(http.StatusUnsupportedMediaType, "send application/json")
	}
	data, err := io.ReadAll(sent)
	if err != nil {
		return body.Failed(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return wire.Refuse(http.StatusBadRequest, "malformed request: %v", err)
	}
	return nil
}

// putMetadata stores one value, or as many as come in frames.
func (h *Handler) putMetadata(x *exchange) error {
	if media, _, _ := mime.ParseMediaType(x.r.Header.Get("Content-Type")); media == MediaType {
		return h.records(x)
	}
	var req struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	}
	if err := h.small(x, &req); err != nil {
		return err
	}
	if len(req.Key) != dhash.KeySize || len(req.Value) < dhash.Overhead || len(req.Value) > maxSealed {
		return wire.Refuse(http.StatusBadRequest, "a key of %d bytes with %d bytes of metadata", len(req.Key), len(req.Value))
	}
	x.done.Bytes = int64(len(req.Key) + len(req.Value))
	return inStore(h.store.PutSealedMetadata(x.r.Context(), dhash.MetadataKey(req.Key), req.Value))
}

func (h *Handler) deleteMetadata(x *exchange, name string) error {
	if len(name) > maxName {
		return wire.Refuse(http.StatusBadRequest, "a name of %d bytes", len(name))
	}
	key, err := base58.Decode(name)
	if err != nil || len(key) != dhash.KeySize {
		return wire.Refuse(http.StatusBadRequest, "not a key of metadata in base58")
	}
	x.status = http.StatusOK
	return inStore(h.store.PutSealedMetadata(x.r.Context(), dhash.MetadataKey(key), nil))
}
