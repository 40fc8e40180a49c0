package gateway

import (
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

// exchange is one request and its answer.
type exchange struct {
	h      *Handler
	w      http.ResponseWriter
	r      *http.Request
	header http.Header // of w
	path   contentPath
	began  time.Time
	res    Result
	sink   sink
	values [8]string // backs the header values of this answer, in one allocation
	used   int
}

// set puts a header whose name is in canonical form.
func (x *exchange) set(name, value string) {
	if x.used == len(x.values) {
		x.header[name] = []string{value}
		return
	}
	x.values[x.used] = value
	x.header[name] = x.values[x.used : x.used+1 : x.used+1]
	x.used++
}

func (x *exchange) done() {
	x.res.Bytes = x.sink.n
	x.res.Elapsed = time.Since(x.began)
	x.h.trace.Done(x.r, x.res)
}

// serve answers the request, or returns the reason why nothing was sent yet.
func (x *exchange) serve() error {
	x.h.fixed.cors(x.header)
	if u := x.r.URL; max(len(x.r.RequestURI), len(u.Path)+len(u.RawQuery)) > x.h.maxURL {
		return refuse(http.StatusRequestURITooLong, "URI too long: path and query have more than %d bytes.", x.h.maxURL)
	}
	switch x.r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		x.preflight()
		return nil
	default:
		return &Error{
			Status: http.StatusMethodNotAllowed, Reason: "Method not allowed: content is read with GET or HEAD.",
			header: "Allow", value: corsMethods,
		}
	}
	if x.r.ContentLength != 0 { // what is left of it the server drains, up to its own limit
		return refuse(http.StatusBadRequest, "Bad request: a %s request has no body here.", x.r.Method)
	}
	var err error
	if x.path, err = parsePath(x.r.URL, x.h.segments); err != nil {
		return err
	}
	switch x.path.namespace {
	case "ipfs":
		return x.content()
	case "ipns":
		return x.name()
	case ".well-known":
		return x.manifest()
	}
	return refuse(http.StatusNotFound, "Not found: content is served below /ipfs/.")
}

func (x *exchange) preflight() {
	x.set("Allow", corsMethods)
	x.set("Access-Control-Max-Age", "86400")
	x.status(http.StatusNoContent)
}

// name answers for /ipns/. Names are not served yet.
func (x *exchange) name() error {
	p, err := parseParams(x.r.URL.RawQuery)
	switch {
	case err != nil:
		return err
	case x.path.key == "":
		return refuse(http.StatusBadRequest, "Bad request: the path has no name.")
	case len(x.path.segments) > 0:
		return refuse(http.StatusBadRequest, "Bad request: a name record has no path below it; resolve the name, then ask for /ipfs/.")
	}
	if _, err := negotiateRecord(&p, x.r.Header["Accept"]); err != nil {
		return err
	}
	x.res.Format = string(FormatRecord)
	return refuse(http.StatusNotFound, "Not found: this gateway does not serve names yet.")
}

// manifest answers where libp2p looks for protocols spoken over HTTP
// (https://github.com/libp2p/specs/blob/master/http/README.md).
func (x *exchange) manifest() error {
	const manifest = `{"protocols":{"/ipfs/gateway":{"path":"/"}}}`
	if x.path.key != "libp2p" || len(x.path.segments) != 1 || x.path.segments[0] != "protocols" {
		return refuse(http.StatusNotFound, "Not found: content is served below /ipfs/.")
	}
	x.set("Content-Type", "application/json")
	x.set("Cache-Control", "public, max-age=3600")
	x.set("Content-Length", strconv.Itoa(len(manifest)))
	x.status(http.StatusOK)
	if x.r.Method == http.MethodGet {
		n, _ := x.w.Write([]byte(manifest)) // a client that left is nobody's fault
		x.sink.n = int64(n)
	}
	return nil
}

// content answers for /ipfs/.
func (x *exchange) content() error {
	root, text, err := parseCID(x.path.key)
	if err != nil {
		return err
	}
	// A service worker of /ipfs/{cid} would have the scope of all roots.
	if x.path.bare && x.r.Header.Get("Service-Worker") == "script" {
		return refuse(http.StatusBadRequest, "Bad request: a service worker cannot be registered for all of /ipfs/.")
	}
	p, err := parseParams(x.r.URL.RawQuery)
	if err != nil {
		return err
	}
	chosen, err := negotiate(&p, x.r.Header["Accept"], len(x.path.segments) > 0)
	if err != nil {
		return err
	}
	x.res.Format = string(chosen.format)
	sel, err := selection(root, x.path.segments, &p, chosen.variant)
	if err != nil {
		return err
	}
	body, err := x.open(sel)
	if err != nil {
		return err
	}
	return x.answer(&answer{sel, text, p.filename, chosen, body})
}

// selection turns parameters into a selection.
func selection(root cid.Cid, path []string, p *params, v variant) (block.Selection, error) {
	sel := block.Selection{Root: root, Path: path, Dups: v.dups}
	if v.format == FormatRaw {
		sel.Encoding, sel.Scope = block.EncodingRaw, block.ScopeBlock
		if len(path) > 0 {
			return sel, refuse(http.StatusBadRequest, "Bad request: a raw block is asked for by its own CID, without a path; ask for ?format=car to follow one.")
		}
		return sel, nil
	}
	if v.format == FormatBao {
		sel.Encoding, sel.Scope = block.EncodingBao, block.ScopeBlock
		if len(path) > 0 {
			return sel, refuse(http.StatusBadRequest, "Bad request: a blob and its proof are asked for by its own CID, without a path.")
		}
		if h := root.Prefix(); h.Codec != cid.Raw || h.MhType != uint64(digest.BLAKE3) || h.MhLength != 32 {
			return sel, refuse(http.StatusNotAcceptable, "Not acceptable: only raw CIDs with a blake3 hash of 32 bytes have proofs; ask for ?format=raw or ?format=car.")
		}
		return sel, bytesOf(p, &sel)
	}
	sel.Encoding = block.EncodingCAR
	switch scope := block.Scope(p.scope); scope {
	case "":
		sel.Scope = block.ScopeAll
	case block.ScopeAll, block.ScopeEntity, block.ScopeBlock:
		sel.Scope = scope
	default:
		return sel, refuse(http.StatusBadRequest, "Bad request: dag-scope is all, entity or block, not %q.", clip(p.scope))
	}
	err := bytesOf(p, &sel)
	if sel.Bytes != nil {
		sel.Scope = block.ScopeEntity
	}
	return sel, err
}

// bytesOf puts the entity-bytes of p into a selection.
func bytesOf(p *params, sel *block.Selection) (err error) {
	if p.bytes == "" {
		return nil
	}
	if sel.Bytes, err = block.ParseByteRange(clip(p.bytes)); err != nil {
		return refuse(http.StatusBadRequest, "Bad request: %v.", err)
	}
	return nil
}

// open plans the body. What is absent is 412 for a client that said
// only-if-cached, and 404 for others.
func (x *exchange) open(sel block.Selection) (block.Body, error) {
	if body, ok := inlineBody(&sel); ok {
		return body, nil
	}
	ctx := x.r.Context()
	body, err := x.h.content.Open(ctx, sel)
	if err == nil || !errors.Is(err, fs.ErrNotExist) || !onlyIfCached(x.r.Header["Cache-Control"]) {
		return body, err
	}
	if len(sel.Path) > 0 { // the condition is about the root alone
		root := block.Selection{Root: sel.Root, Scope: block.ScopeBlock, Encoding: block.EncodingRaw}
		if _, rootErr := x.h.content.Open(ctx, root); rootErr == nil {
			return nil, err
		}
	}
	return nil, &Error{Status: http.StatusPreconditionFailed, Reason: sentence(http.StatusPreconditionFailed, nil, x.r.URL.EscapedPath())}
}
