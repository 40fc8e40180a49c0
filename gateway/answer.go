package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/gateway/filename"
)

// answer is a body and what its headers say about it.
type answer struct {
	sel      block.Selection
	text     string // the root's canonical text
	filename string
	choice
	body block.Body
}

// status sends the header of an answer without body.
func (x *exchange) status(code int) {
	x.res.Status = code
	x.w.WriteHeader(code)
}

// answer sends a, or as little of it as the request's conditions allow.
func (x *exchange) answer(a *answer) error {
	tag := entityTag(a.text, &a.sel, a.body)
	x.res.Variant = a.body.Variant()
	if match := x.r.Header["If-Match"]; len(match) > 0 && !matchesTag(match, tag, false) {
		return refuse(http.StatusPreconditionFailed, "Precondition failed: the content's entity tag is %s.", tag)
	}
	path := x.r.URL.EscapedPath()
	x.set("Etag", tag)
	x.header["Cache-Control"] = x.h.fixed.immutable
	if a.vary {
		x.header["Vary"] = x.h.fixed.accept
	}
	if a.locate {
		x.set("Content-Location", contentLocation(path, x.r.URL.RawQuery, a.variant))
	}
	if matchesTag(x.r.Header["If-None-Match"], tag, true) {
		x.status(http.StatusNotModified)
		return nil
	}
	if err := x.describe(a, path); err != nil {
		return err
	}
	return x.send(a, tag)
}

// describe sets the headers of a representation.
func (x *exchange) describe(a *answer, path string) error {
	f := &x.h.fixed
	suffix := string(a.format)
	if a.format == FormatRaw {
		suffix = "bin"
	}
	value, err := disposition(a.filename, a.text+"."+suffix)
	if err != nil {
		return err
	}
	x.set("Content-Disposition", value)
	x.set("X-Ipfs-Path", path)
	if len(a.sel.Path) == 0 { // the roots on the way down a path are not known here
		x.set("X-Ipfs-Roots", a.text)
	}
	x.header["Content-Type"] = f.contentType(a.variant)
	x.header["X-Content-Type-Options"] = f.nosniff
	x.header["Accept-Ranges"] = f.none
	if _, ok := a.ranger(); ok {
		x.header["Accept-Ranges"] = f.bytes
	}
	if size, known := a.body.Size(); known {
		x.set("Content-Length", strconv.FormatInt(size, 10))
	}
	return nil
}

// disposition returns the value of Content-Disposition. Answers are attachments,
// because none of them is fit to be shown by a browser. name is what the client
// asked for; empty means fallback.
func disposition(name, fallback string) (string, error) {
	if len(name) > maxFilename {
		return "", refuse(http.StatusBadRequest, "Bad request: the filename is longer than %d bytes.", maxFilename)
	}
	return filename.Attachment(name, fallback), nil
}

// ranger returns the body as one that can be sent in parts: a raw block whose
// size is known. Parts of a CAR are asked for with entity-bytes.
func (a *answer) ranger() (block.Ranger, bool) {
	r, ok := a.body.(block.Ranger)
	_, known := a.body.Size()
	return r, ok && known && a.format == FormatRaw
}

// part returns the range that the request asks for. Range has a meaning for GET
// alone; several ranges are answered with the whole block.
func (x *exchange) part(a *answer, tag string) (block.Ranger, span, bool, error) {
	header := x.r.Header["Range"]
	r, ok := a.ranger()
	if !ok || len(header) != 1 || x.r.Method != http.MethodGet {
		return nil, span{}, false, nil
	}
	if cond := x.r.Header["If-Range"]; len(cond) > 0 && (len(cond) > 1 || !sameTag(cond[0], tag, false)) {
		return nil, span{}, false, nil
	}
	size, _ := a.body.Size()
	s, ok, err := parseSpan(header[0], size)
	var e *Error
	if errors.As(err, &e) {
		e.header, e.value = "Content-Range", "bytes */"+strconv.FormatInt(size, 10)
	}
	return r, s, ok, err
}

func (x *exchange) send(a *answer, tag string) error {
	part, s, partial, err := x.part(a, tag)
	if err != nil {
		return err
	}
	x.res.Status = http.StatusOK
	if x.r.Method == http.MethodHead {
		x.w.WriteHeader(http.StatusOK)
		return nil
	}
	size, known := a.body.Size()
	if partial {
		x.set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", s.off, s.off+s.n-1, size))
		x.set("Content-Length", strconv.FormatInt(s.n, 10))
		x.res.Status, size = http.StatusPartialContent, s.n
	}
	x.sink.reset(x.h, x.w, x.res.Status, size, known)
	c := x.hold(known)
	if partial {
		_, err = part.SendRange(x.r.Context(), &x.sink, s.off, s.n)
	} else {
		_, err = a.body.Send(x.r.Context(), &x.sink)
	}
	if c != nil {
		err = errors.Join(err, x.release(c))
	}
	return x.settle(err, a.format, known)
}

// hold has the connection gather the beginning of an answer, or all of a small
// one. It returns nil if it cannot. What has no known size may come in small pieces
// over a long time, each of which is worth sending.
func (x *exchange) hold(known bool) *holdingConn {
	if !known {
		return nil
	}
	c := conn(x.r)
	if c != nil {
		c.hold()
	}
	return c
}

// release sends the gathered answer. One that failed before its first byte is
// not flushed, so that another can take its place.
func (x *exchange) release(c *holdingConn) error {
	var err error
	if x.sink.begun {
		err = http.NewResponseController(x.w).Flush()
	}
	return errors.Join(err, c.release())
}

// settle judges what was sent by what the sink saw, not by what the body says.
func (x *exchange) settle(err error, format Format, known bool) error {
	switch {
	case err != nil:
	case known && x.sink.left != 0:
		err = fmt.Errorf("%w: %d bytes are missing", errLength, x.sink.left)
	case !known && x.sink.n == 0 && format == FormatCAR:
		err = fmt.Errorf("%w: not even a header", errLength)
	default:
		return nil
	}
	if x.sink.begun {
		x.cut(err)
	}
	return err
}

// cut ends the connection or stream of an answer that has begun.
func (x *exchange) cut(err error) {
	cause := causeOf(x.r, err)
	x.res.Err, x.res.Cut = err, true
	if x.h.trace.Broken != nil {
		x.h.trace.Broken(x.r, cause, err)
	}
	level := slog.LevelWarn
	if cause == CauseClient || cause == CauseStalled {
		level = slog.LevelDebug
	}
	x.h.log.Log(x.r.Context(), level, "answer cut", "path", x.r.URL.EscapedPath(), "cause", string(cause), "bytes", x.sink.n, "error", err)
	if !x.r.ProtoAtLeast(1, 1) && x.header["Content-Length"] == nil {
		x.reset()
	}
	panic(http.ErrAbortHandler)
}

// reset sends a TCP reset. The end of an HTTP/1.0 answer without length is the
// end of its connection, so closing it properly would make a cut answer whole.
func (x *exchange) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return
	}
	inner := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		inner = t.NetConn()
	}
	if t, ok := inner.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	inner.Close()
}

// ownHeaders are those of a success, which an error takes back. What other
// handlers have set stays.
func ownHeaders() []string {
	return []string{
		"Accept-Ranges", "Cache-Control", "Content-Disposition", "Content-Length", "Content-Location", "Content-Range",
		"Content-Type", "Etag", "Vary", "X-Content-Type-Options", "X-Ipfs-Path", "X-Ipfs-Roots",
	}
}

// fail answers with err. Nothing has been sent yet.
func (x *exchange) fail(err error) {
	x.res.Status, x.res.Err = StatusOf(err), err
	if x.res.Status >= 500 && x.r.Context().Err() == nil {
		x.h.log.Error("request failed", "path", x.r.URL.EscapedPath(), "status", x.res.Status, "error", err)
	}
	x.sink.n = writeError(x.w, x.r, err)
}

// writeError sends a sentence about err that no cache keeps, and returns the
// length of the body sent.
func writeError(w http.ResponseWriter, r *http.Request, err error) int64 {
	h := w.Header()
	for _, name := range ownHeaders() {
		delete(h, name)
	}
	status := StatusOf(err)
	text := sentence(status, err, clip(r.URL.EscapedPath())) + "\n"
	var e *Error
	if errors.As(err, &e) && e.header != "" {
		h.Set(e.header, e.value)
	}
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", "1")
		}
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return 0
	}
	n, _ := w.Write([]byte(text)) // a client that left is nobody's fault
	return int64(n)
}
