package ingesthttp

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// NodeStatus is the state of a node, as assigners ask for it.
type NodeStatus struct {
	Frozen bool    // no more multihashes are taken
	ID     peer.ID // of the node
	Usage  float64 // of the disk in percent, negative if unknown
}

// Assignment is a publisher that a node works on.
type Assignment struct {
	Publisher peer.ID
	Continued peer.ID `json:",omitempty"` // the node that worked on it before
}

// Sync asks for the chain of a publisher now.
type Sync struct {
	Publisher peer.AddrInfo // with an address if another one than known is to be asked
	Depth     uint64        // advertisements at most; 0 means all
	Resync    bool          // those that were processed too
}

// Admin is what operators can do. What is nil is answered 501. What does not exist matches
// fs.ErrNotExist, what is under way or done already fs.ErrExist.
type Admin struct {
	Sync            func(ctx context.Context, s Sync) error // begins; it ends later
	Syncing         func(ctx context.Context) ([]peer.ID, error)
	Allow           func(ctx context.Context, id peer.ID) error
	Block           func(ctx context.Context, id peer.ID) error
	Freeze          func(ctx context.Context) error
	Unfreeze        func(ctx context.Context) error
	Status          func(ctx context.Context) (NodeStatus, error)
	RemoveProvider  func(ctx context.Context, id peer.ID, block bool) error
	ImportProviders func(ctx context.Context, indexer *url.URL) error // of another index
	Assign          func(ctx context.Context, publisher peer.ID) error
	Unassign        func(ctx context.Context, publisher peer.ID) error
	Handoff         func(ctx context.Context, publisher, frozen peer.ID, indexer *url.URL) error // from a frozen node
	Assigned        func(ctx context.Context) ([]Assignment, error)
	Preferred       func(ctx context.Context) ([]peer.ID, error)
	MarkProcessed   func(ctx context.Context, publisher peer.ID, ad cid.Cid) error
	Health          func(ctx context.Context) error
}

// AdminHandler serves operators. It asks for no credential, but refuses what browsers send for
// pages of other sites.
type AdminHandler struct {
	admin Admin
	log   *slog.Logger
	guard *http.CrossOriginProtection
}

// NewAdmin returns an AdminHandler. A nil logger means none.
func NewAdmin(a Admin, log *slog.Logger) *AdminHandler {
	return &AdminHandler{admin: a, log: log, guard: http.NewCrossOriginProtection()}
}

// action is a request of an operator.
type action struct {
	r     *http.Request
	w     http.ResponseWriter
	name  string // after the route
	peer  peer.ID
	body  []byte
	reply any // nil is none
	code  int // of success; 0 is 200
}

// route is what serves a path.
type route struct {
	methods string
	peer    bool // the path ends with a peer id
	do      func(*AdminHandler, *action) error
}

// find returns the route of a path, and the name that it ends with.
func find(path string) (route, string) {
	if rt := routeOf(path); !rt.peer && rt.do != nil {
		return rt, ""
	}
	i := strings.LastIndexByte(path, '/') + 1
	if rt := routeOf(strings.TrimSuffix(path[:i], "/")); rt.peer || rt.do != nil && path[:i] == "/ingest/sync/" {
		return rt, path[i:]
	}
	return route{}, ""
}

func routeOf(path string) route {
	switch path {
	case "/importproviders":
		return route{"POST", false, (*AdminHandler).importProviders}
	case "/ingest/sync":
		return route{"GET, POST", false, (*AdminHandler).sync}
	case "/freeze":
		return route{"PUT", false, func(h *AdminHandler, a *action) error { return plain(a, h.admin.Freeze) }}
	case "/unfreeze":
		return route{"PUT", false, func(h *AdminHandler, a *action) error { return plain(a, h.admin.Unfreeze) }}
	case "/healthcheck":
		return route{"GET", false, func(h *AdminHandler, a *action) error { a.reply = "OK"; return plain(a, h.admin.Health) }}
	case "/status":
		return route{"GET", false, (*AdminHandler).status}
	case "/ingest/allow":
		return route{"PUT", true, func(h *AdminHandler, a *action) error { return onPeer(a, h.admin.Allow) }}
	case "/ingest/block":
		return route{"PUT", true, func(h *AdminHandler, a *action) error { return onPeer(a, h.admin.Block) }}
	case "/ingest/assign":
		return route{"POST", true, func(h *AdminHandler, a *action) error { return onPeer(a, h.admin.Assign) }}
	case "/ingest/unassign":
		return route{"PUT", true, func(h *AdminHandler, a *action) error { return onPeer(a, h.admin.Unassign) }}
	case "/ingest/handoff":
		return route{"POST", true, (*AdminHandler).handoff}
	case "/ingest/assigned":
		return route{"GET", false, func(h *AdminHandler, a *action) error { return list(a, h.admin.Assigned) }}
	case "/ingest/preferred":
		return route{"GET", false, func(h *AdminHandler, a *action) error { return list(a, h.admin.Preferred) }}
	case "/removeprovider":
		return route{"DELETE", true, (*AdminHandler).removeProvider}
	case "/markadprocessed":
		return route{"PUT", true, (*AdminHandler).markProcessed}
	}
	return route{}
}

// ServeHTTP answers one request.
func (h *AdminHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.guard.Check(r); err != nil {
		wire.WriteError(w, r, http.StatusForbidden, wire.Refuse(http.StatusForbidden, "not from a page of another site"), nil)
		return
	}
	rt, name := find(r.URL.Path)
	if rt.do == nil {
		wire.WriteError(w, r, http.StatusNotFound, wire.Refuse(http.StatusNotFound, "no such route"), nil)
		return
	}
	if !wire.Allow(w, r, rt.methods, strings.Split(rt.methods, ", ")...) {
		return
	}
	a := &action{r: r, w: w, name: name}
	if err := h.run(rt, a); err != nil {
		wire.WriteError(w, r, wire.StatusOf(err), err, h.log)
		return
	}
	switch {
	case a.reply != nil:
		document(w, a.reply)
	case a.code != 0:
		w.WriteHeader(a.code)
	}
}

func (h *AdminHandler) run(rt route, a *action) (err error) {
	if rt.peer {
		if a.peer, err = parsePeer(a.name); err != nil {
			return err
		}
	}
	if a.body, err = read(a.w, a.r); err != nil {
		return err
	}
	return rt.do(h, a)
}

// missing answers what this node cannot do.
func missing() error { return wire.Refuse(http.StatusNotImplemented, "not a role of this node") }

func plain(a *action, f func(context.Context) error) error {
	if f == nil {
		return missing()
	}
	return f(a.r.Context())
}

func onPeer(a *action, f func(context.Context, peer.ID) error) error {
	if f == nil {
		return missing()
	}
	return f(a.r.Context(), a.peer)
}

// list answers a list, or 204.
func list[T any](a *action, f func(context.Context) ([]T, error)) error {
	if f == nil {
		return missing()
	}
	all, err := f(a.r.Context())
	if len(all) == 0 {
		a.code = http.StatusNoContent
		return err
	}
	a.reply = all
	return err
}

func (h *AdminHandler) status(a *action) error {
	if h.admin.Status == nil {
		return missing()
	}
	s, err := h.admin.Status(a.r.Context())
	a.reply = s
	return err
}

// sync begins one, or answers those under way.
func (h *AdminHandler) sync(a *action) error {
	if a.r.Method == http.MethodGet {
		if h.admin.Syncing == nil {
			return missing()
		}
		all, err := h.admin.Syncing(a.r.Context())
		a.reply = append([]peer.ID{}, all...)
		return err
	}
	if h.admin.Sync == nil {
		return missing()
	}
	s, err := parseSync(a)
	if err != nil {
		return err
	}
	a.code = http.StatusAccepted
	return h.admin.Sync(a.r.Context(), s)
}

func parseSync(a *action) (s Sync, err error) {
	if s.Publisher.ID, err = parsePeer(a.name); err != nil {
		return s, err
	}
	query := a.r.URL.Query()
	if text := query.Get("depth"); text != "" && text != "-1" { // which storetheindex's client sends for no limit
		if s.Depth, err = strconv.ParseUint(text, 10, 63); err != nil {
			return s, wire.Refuse(http.StatusBadRequest, "depth %.32q is no number", text)
		}
	}
	if s.Resync, err = flag(query, "resync"); err != nil {
		return s, err
	}
	if len(a.body) > 0 {
		var text string
		if err := json.Unmarshal(a.body, &text); err != nil {
			return s, wire.Refuse(http.StatusBadRequest, "the body is no address as a JSON string")
		}
		addr, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return s, wire.Refuse(http.StatusBadRequest, "address: %v", err)
		}
		s.Publisher.Addrs = []multiaddr.Multiaddr{addr}
	}
	return s, nil
}

func flag(query url.Values, name string) (bool, error) {
	text := query.Get(name)
	if text == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, wire.Refuse(http.StatusBadRequest, "%s %.32q is neither true nor false", name, text)
	}
	return v, nil
}

// importProviders takes {"indexer": a URL in base64}.
func (h *AdminHandler) importProviders(a *action) error {
	if h.admin.ImportProviders == nil {
		return missing()
	}
	var req struct {
		Indexer []byte `json:"indexer"`
	}
	if err := json.Unmarshal(a.body, &req); err != nil || len(req.Indexer) == 0 {
		return wire.Refuse(http.StatusBadRequest, "missing indexer url in request")
	}
	u, err := parseURL(string(req.Indexer))
	if err != nil {
		return err
	}
	return remote(h.admin.ImportProviders(a.r.Context(), u))
}

// remote makes failures to ask another node 502 rather than this node's fault.
func remote(err error) error {
	if err == nil || wire.StatusOf(err) != http.StatusInternalServerError {
		return err
	}
	return &wire.Error{Status: http.StatusBadGateway, Reason: "the other index cannot be asked: " + err.Error()}
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, wire.Refuse(http.StatusBadRequest, "the address of an index is an http or https URL")
	}
	return u, nil
}

// handoff takes {"FrozenID": a peer id, "FrozenURL": where that node is found}.
func (h *AdminHandler) handoff(a *action) error {
	if h.admin.Handoff == nil {
		return missing()
	}
	var req struct{ FrozenID, FrozenURL string }
	if err := json.Unmarshal(a.body, &req); err != nil {
		return wire.Refuse(http.StatusBadRequest, "malformed handoff data")
	}
	frozen, err := parsePeer(req.FrozenID)
	if err != nil {
		return err
	}
	u, err := parseURL(req.FrozenURL)
	if err != nil {
		return err
	}
	return remote(h.admin.Handoff(a.r.Context(), a.peer, frozen, u))
}

func (h *AdminHandler) removeProvider(a *action) error {
	if h.admin.RemoveProvider == nil {
		return missing()
	}
	block, err := flag(a.r.URL.Query(), "block")
	if err != nil {
		return err
	}
	return h.admin.RemoveProvider(a.r.Context(), a.peer, block)
}

func (h *AdminHandler) markProcessed(a *action) error {
	if h.admin.MarkProcessed == nil {
		return missing()
	}
	c, err := parseAd(a.r.URL.Query().Get("cid"))
	if err != nil {
		return err
	}
	return h.admin.MarkProcessed(a.r.Context(), a.peer, c)
}
