package storehttp

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/mr-tron/base58"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
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
func (h *Handler) body(x *exchange, limit int64) (io.Reader, bool, error) {
	media := x.r.Header.Get("Content-Type")
	if media != "" {
		var err error
		if media, _, err = mime.ParseMediaType(media); err != nil || media != MediaType && media != "application/json" {
			return nil, false, wire.Refuse(http.StatusUnsupportedMediaType, "send application/json or %s", MediaType)
		}
	}
	back, err := h.room.take(x.r.Context(), roomFor(x.r, media == MediaType, limit))
	if err != nil {
		return nil, false, err
	}
	x.back = back
	var body io.Reader = http.MaxBytesReader(x.w, x.r.Body, limit)
	if h.o.Idle > 0 {
		body = &idleReader{body, http.NewResponseController(x.w), h.o.Idle}
	}
	switch encoding := x.r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, false, readFailed(err)
		}
		body = &limited{z, limit, limit}
	default:
		return nil, false, wire.Refuse(http.StatusUnsupportedMediaType, "content encoding %.32q: send gzip, or none", encoding)
	}
	return body, media == MediaType, nil
}

// idleReader ends a request that stalls.
type idleReader struct {
	r    io.Reader
	c    *http.ResponseController
	idle time.Duration
}

// Read implements [io.Reader].
func (i *idleReader) Read(p []byte) (int, error) {
	i.c.SetReadDeadline(time.Now().Add(i.idle)) // writers without deadlines have none
	return i.r.Read(p)
}

// limited bounds what a compressed body becomes.
type limited struct {
	r           io.Reader
	left, limit int64
}

// Read implements [io.Reader].
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	if l.left -= int64(n); l.left < 0 {
		return 0, &http.MaxBytesError{Limit: l.limit}
	}
	return n, err
}

// readFailed is the answer to a body that could not be read.
func readFailed(err error) error {
	switch {
	case wire.StatusOf(err) == http.StatusRequestEntityTooLarge, wire.StatusOf(err) == http.StatusBadRequest:
		return err
	case errors.Is(err, digest.ErrMismatch), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), corrupt(err):
		return wire.Refuse(http.StatusBadRequest, "%v", err)
	}
	return wire.Refuse(http.StatusRequestTimeout, "the body did not come: %v", err)
}

// corrupt reports whether err is of what was compressed, rather than of receiving it.
func corrupt(err error) bool {
	var input flate.CorruptInputError
	var internal flate.InternalError
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &input) || errors.As(err, &internal)
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
	return readFailed(err)
}

// records puts or deletes records.
func (h *Handler) records(x *exchange) error {
	put, least := h.store.PutSealed, dhash.Overhead
	remove := x.r.Method == http.MethodDelete
	if remove {
		put, least = h.store.DeleteSealed, 1 // what was taken once
	}
	body, binary, err := h.body(x, h.o.MaxBody)
	if err != nil {
		return err
	}
	x.done.Binary = binary
	if binary {
		in := NewReader(body)
		in.least = least
		return written(h.frames(x, in, remove, put))
	}
	m := h.parsers.Get().(*merges.Reader)
	defer h.parsers.Put(m)
	m.Least = least
	return written(m.Read(body, func(r valuestore.Records) error {
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
	body, binary, err := h.body(x, maxSmall)
	if err != nil {
		return err
	}
	if binary {
		return wire.Refuse(http.StatusUnsupportedMediaType, "send application/json")
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return readFailed(err)
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
