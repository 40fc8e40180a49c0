// Package body reads what requests send: decompressed, within bounds of size, time and the memory of
// all of them.
//
// # Errors
//
// Those of package wire: a request that is refused, or that may come again later. [Failed] makes them
// of errors of reading.
//
// Bodies are safe for concurrent use.
package body

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// Bodies opens the bodies of requests.
type Bodies struct {
	media string
	idle  time.Duration
	room  *room
}

// New returns Bodies that are of a binary media type or JSON. A byte must come in each idle,
// if that is positive. All together hold memory bytes.
func New(media string, idle time.Duration, memory int64) *Bodies {
	return &Bodies{media, idle, newRoom(memory)}
}

// Open returns what a request sends, of at most limit bytes, and whether it is of the binary type. Unless it
// fails, back must be called when all of it was read.
func (b *Bodies) Open(w http.ResponseWriter, r *http.Request, limit int64) (in io.Reader, binary bool, back func(), err error) {
	media := r.Header.Get("Content-Type")
	if media != "" {
		if media, _, err = mime.ParseMediaType(media); err != nil || media != b.media && media != "application/json" {
			return nil, false, nil, wire.Refuse(http.StatusUnsupportedMediaType, "send application/json or %s", b.media)
		}
	}
	binary = media == b.media
	if back, err = b.room.take(r.Context(), roomFor(r, binary, limit)); err != nil {
		return nil, false, nil, err
	}
	if in, err = b.open(w, r, limit); err != nil {
		back()
		return nil, false, nil, err
	}
	return in, binary, back, nil
}

func (b *Bodies) open(w http.ResponseWriter, r *http.Request, limit int64) (io.Reader, error) {
	var in io.Reader = http.MaxBytesReader(w, r.Body, limit)
	if b.idle > 0 {
		in = &idleReader{in, http.NewResponseController(w), b.idle}
	}
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, Failed(err)
		}
		in = &limited{z, limit, limit}
	default:
		return nil, wire.Refuse(http.StatusUnsupportedMediaType, "content encoding %.32q: send gzip, or none", encoding)
	}
	return in, nil
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

// Failed is the answer to a body that could not be read.
func Failed(err error) error {
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
