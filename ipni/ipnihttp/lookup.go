package ipnihttp

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/mr-tron/base58"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/jsonappend"
)

// query is a lookup.
type query struct {
	h      *Handler
	r      *http.Request
	finder ipni.Finder
	sealed bool // encrypted results alone
	a      *answer
}

// lookup answers the routes that look multihashes up.
func (h *Handler) lookup(ctx context.Context, w http.ResponseWriter, r *http.Request, route route, name string) {
	began := time.Time{}
	if h.o.Done != nil {
		began = time.Now()
	}
	a := h.answers.get()
	a.w, a.head, a.timed, a.reply = w, r.Method == http.MethodHead, h.o.Done != nil, h.reply
	q := &query{h: h, r: r, sealed: route == routeSealedCID || route == routeSealedHash, a: a}
	err := q.run(ctx, w, route, name)
	status := h.conclude(w, r, a, err)
	if h.o.Done != nil {
		d := Done{Route: route.String(), Status: status, Results: a.items, Elapsed: time.Since(began), Err: cmp.Or(err, a.lacks)}
		if !a.first.IsZero() {
			d.First = a.first.Sub(began)
		}
		h.o.Done(r, d)
	}
	abort := err != nil && status == http.StatusOK
	h.answers.put(a)
	if abort {
		panic(http.ErrAbortHandler)
	}
}

// conclude ends an answer, or makes it one of failure or absence, and returns its status.
func (h *Handler) conclude(w http.ResponseWriter, r *http.Request, a *answer, err error) int {
	open := a.end(err != nil)
	switch {
	case err != nil && open:
		status := wire.LookupStatus(err)
		wire.WriteError(w, r, status, err, h.o.Logger)
		return status
	case err != nil:
		h.warn(r, "answer cut", err)
	case a.lacks != nil:
		h.warn(r, "answer incomplete", a.lacks)
	case a.items == 0:
		header := w.Header()
		header["Content-Type"] = h.fixed.plain
		header["X-Content-Type-Options"] = h.fixed.nosniff
		header["Cache-Control"] = h.fixed.miss
		header["Vary"] = h.fixed.accept
		header["Content-Length"] = h.fixed.missLength
		w.WriteHeader(http.StatusNotFound)
		if !a.head {
			io.WriteString(w, missText)
		}
		return http.StatusNotFound
	}
	return http.StatusOK
}

func (h *Handler) warn(r *http.Request, text string, err error) {
	if h.o.Logger != nil && r.Context().Err() == nil {
		h.o.Logger.LogAttrs(r.Context(), slog.LevelWarn, text, slog.Any("error", err))
	}
}

// reply sets the headers of an answer with results. It reports whether caches may keep it.
func (h *Handler) reply(header http.Header, a *answer) (keep bool) {
	header["Content-Type"] = h.fixed.json
	if a.form == formLines {
		header["Content-Type"] = h.fixed.lines
		header["X-Content-Type-Options"] = h.fixed.nosniff
	}
	header["Vary"] = h.fixed.accept
	if a.lacks != nil {
		header["Cache-Control"] = h.fixed.never
		return false
	}
	header["Cache-Control"] = h.fixed.hit
	return h.o.HitAge >= 0
}

func (q *query) run(ctx context.Context, w http.ResponseWriter, route route, name string) error {
	if q.a.form = negotiate(q.r.Header["Accept"]); q.a.form == formNone {
		return wire.Refuse(http.StatusNotAcceptable, "accept: %s, %s", typeJSON, typeLines)
	}
	q.finder = q.h.index.Finder
	if q.h.o.Cascade != nil && q.r.URL.RawQuery != "" {
		if labels := q.r.URL.Query()["cascade"]; len(labels) > 0 {
			if f := q.h.o.Cascade(labels); f != nil {
				q.finder = f
			}
		}
	}
	if name == "" {
		return q.many(ctx, w)
	}
	mh, err := parseName(route, name)
	if err != nil {
		return err
	}
	return q.one(ctx, mh)
}

// many answers the multihashes in the body of a request.
func (q *query) many(ctx context.Context, w http.ResponseWriter) error {
	var body struct{ Multihashes [][]byte }
	if err := json.NewDecoder(http.MaxBytesReader(w, q.r.Body, maxBatchBody)).Decode(&body); err != nil {
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			return err
		}
		return wire.Refuse(http.StatusBadRequest, "the body is no JSON of the form {\"Multihashes\":[…]}")
	}
	if n := len(body.Multihashes); n == 0 || n > q.h.o.MaxBatch {
		return wire.Refuse(http.StatusBadRequest, "%d multihashes: 1 to %d may be asked for", n, q.h.o.MaxBatch)
	}
	for i, mh := range body.Multihashes {
		if _, err := multihash.Cast(mh); err != nil {
			return wire.Refuse(http.StatusBadRequest, "multihash %d is malformed", i)
		}
	}
	q.a.batch = true
	for _, mh := range body.Multihashes {
		if err := q.one(ctx, mh); err != nil || q.a.broken() {
			return err
		}
	}
	return nil
}

// one answers a multihash. One of dbl-sha2-256 is a second hash, if the index knows
// it as such. A batch keeps to one kind, for a document holds one.
func (q *query) one(ctx context.Context, mh multihash.Multihash) error {
	key, err := dhash.ParseKey(mh)
	second := err == nil && (q.sealed || !q.a.batch && q.h.index.Sealed != nil)
	switch {
	case q.sealed && err != nil:
		return wire.Refuse(http.StatusBadRequest, "what is looked up encrypted is a dbl-sha2-256 multihash")
	case q.sealed && q.h.index.Sealed == nil:
		return wire.Refuse(http.StatusNotImplemented, "this server answers no encrypted lookups")
	case second:
		q.a.kind = kind{"EncryptedMultihashResults", "EncryptedValueKeys"}
		f := jsonappend.Base64
		if q.a.form == formLines && !q.a.batch {
			f = appendKeyLine
		}
		err := each(q.a, mh, q.h.index.Sealed.ValueKeys(ctx, key), f)
		if err != nil || q.sealed || q.a.items > 0 || q.finder == nil {
			return err
		}
	case q.finder == nil:
		return wire.Refuse(http.StatusNotImplemented, "this server answers encrypted lookups alone")
	}
	q.a.kind = kind{"MultihashResults", "ProviderResults"}
	return each(q.a, mh, q.finder.Find(ctx, mh), appendResult)
}

// each writes what seq yields. A failure of it is never absence. That there may be more than it
// yielded is none.
func each[T any](a *answer, mh multihash.Multihash, seq iter.Seq2[T, error], f func([]byte, T) []byte) error {
	for v, err := range seq {
		if err != nil {
			if err = a.fail(err); err != nil {
				return err
			}
			break
		}
		if !a.item(mh, func(dst []byte) []byte { return f(dst, v) }) {
			break
		}
	}
	a.next()
	return nil
}

// parseName reads a multihash (base58, else hex) or a CID.
func parseName(route route, name string) (multihash.Multihash, error) {
	if len(name) > maxName {
		return nil, wire.Refuse(http.StatusBadRequest, "a name of %d bytes", len(name))
	}
	if route == routeCID || route == routeSealedCID {
		c, err := cid.Decode(name)
		if err != nil {
			return nil, wire.Refuse(http.StatusBadRequest, "not a CID: %v", err)
		}
		return c.Hash(), nil
	}
	mh, err := base58.Decode(name)
	if err == nil {
		_, err = multihash.Cast(mh)
	}
	if err == nil {
		return mh, nil
	}
	if mh, err = hex.DecodeString(name); err == nil {
		_, err = multihash.Cast(mh)
	}
	if err != nil {
		return nil, wire.Refuse(http.StatusBadRequest, "not a multihash in base58 or hex")
	}
	return mh, nil
}

// parseMetadataKey reads the name of encrypted metadata.
func parseMetadataKey(name string) (dhash.MetadataKey, error) {
	if len(name) <= maxName {
		if b, err := base58.Decode(name); err == nil && len(b) == dhash.KeySize {
			return dhash.MetadataKey(b), nil
		}
	}
	return dhash.MetadataKey{}, &wire.Error{Status: http.StatusBadRequest, Reason: "not a key of metadata: " + digest.ErrMismatch.Error()}
}
