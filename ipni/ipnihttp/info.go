package ipnihttp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/jsonappend"
)

// metadata answers encrypted metadata.
func (h *Handler) metadata(ctx context.Context, w http.ResponseWriter, r *http.Request, name string) error {
	key, err := parseMetadataKey(name)
	if err != nil {
		return err
	}
	if h.index.Sealed == nil {
		return wire.Refuse(http.StatusNotImplemented, "this server has no encrypted metadata")
	}
	sealed, err := h.index.Sealed.SealedMetadata(ctx, key)
	if err != nil {
		return h.absent(w, err, "no metadata")
	}
	return h.document(w, r, append(jsonappend.Base64([]byte(`{"EncryptedMetadata":`), sealed), '}'))
}

// absent answers absence, which caches may keep for a while. Other errors it returns.
func (h *Handler) absent(w http.ResponseWriter, err error, text string) error {
	if !errors.Is(err, fs.ErrNotExist) || wire.StatusOf(err) != http.StatusNotFound {
		return err
	}
	w.Header()["Cache-Control"] = h.fixed.miss
	http.Error(w, text, http.StatusNotFound)
	return nil
}

// document answers JSON that is there as a whole.
func (h *Handler) document(w http.ResponseWriter, r *http.Request, data []byte) error {
	if negotiate(r.Header["Accept"]) == formNone {
		return wire.Refuse(http.StatusNotAcceptable, "accept: %s", typeJSON)
	}
	header := w.Header()
	header["Content-Type"] = h.fixed.json
	header["Vary"] = h.fixed.accept
	if header["Cache-Control"] == nil {
		header["Cache-Control"] = h.fixed.hit
	}
	header["Content-Length"] = []string{strconv.Itoa(len(data))}
	if r.Method != http.MethodHead {
		w.Write(data) // who is gone is gone
	}
	return nil
}

// provider answers what is known of one. Who is inactive is not told of, for nothing
// can be had there.
func (h *Handler) provider(ctx context.Context, w http.ResponseWriter, r *http.Request, name string) error {
	if len(name) > maxName {
		return wire.Refuse(http.StatusBadRequest, "a peer id of %d bytes", len(name))
	}
	id, err := peer.Decode(name)
	if err != nil {
		return wire.Refuse(http.StatusBadRequest, "cannot decode provider id: %v", err)
	}
	if h.index.Providers == nil {
		return wire.Refuse(http.StatusNotImplemented, "this server knows no providers")
	}
	info, err := h.index.Providers.Provider(ctx, id)
	if err == nil && info.Inactive {
		err = fs.ErrNotExist
	}
	if err != nil {
		return h.absent(w, err, "provider not found")
	}
	data, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return h.document(w, r, data)
}

// providers answers all of them, as they come.
func (h *Handler) providers(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	if h.index.Providers == nil {
		return wire.Refuse(http.StatusNotImplemented, "this server knows no providers")
	}
	buf, sent := append(make([]byte, 0, startBuffer), '['), false
	for info, err := range h.index.Providers.Providers(ctx) {
		var data []byte
		if err == nil {
			data, err = json.Marshal(info)
		}
		if errors.Is(err, ipni.ErrIncomplete) && (len(buf) > 1 || sent) && !(sent && h.o.HitAge >= 0) {
			w.Header()["Cache-Control"] = h.fixed.never
			break
		}
		if err != nil && sent {
			panic(http.ErrAbortHandler)
		}
		if err != nil {
			return &wire.Error{Status: wire.LookupStatus(err), Reason: "providers cannot be listed now"}
		}
		if len(buf) > 1 || sent {
			buf = append(buf, ',')
		}
		buf = append(buf, data...)
		if len(buf) >= fullBuffer && r.Method != http.MethodHead {
			if !sent {
				w.Header()["Content-Type"] = h.fixed.json
				w.Header()["Cache-Control"] = h.fixed.hit
			}
			if _, err := w.Write(buf); err != nil {
				return nil
			}
			buf, sent = buf[:0], true
		}
	}
	buf = append(buf, ']')
	if sent {
		w.Write(buf)
		return nil
	}
	return h.document(w, r, buf)
}

func (h *Handler) stats(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	if h.index.Stats == nil {
		return wire.Refuse(http.StatusNotImplemented, "this server counts nothing")
	}
	s, err := h.index.Stats(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return h.document(w, r, data)
}

// health tells that this server is ready, and its version.
func (h *Handler) health(ctx context.Context, w http.ResponseWriter) error {
	if h.index.Ready != nil {
		if err := h.index.Ready(ctx); err != nil {
			return &wire.Error{Status: http.StatusServiceUnavailable, Reason: "not ready"}
		}
	}
	text := "ready"
	if h.o.Version != "" {
		text += " " + h.o.Version
	}
	w.Header()["Content-Type"] = h.fixed.plain
	w.Header().Set("Cache-Control", "no-cache")
	io.WriteString(w, text+"\n")
	return nil
}
