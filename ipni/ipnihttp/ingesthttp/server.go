package ingesthttp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

const (
	maxBody = 1 << 20 // bytes of a request
	maxAds  = 128     // advertisements whose status one request asks for
	maxName = 512     // bytes of a name in a path
)

// Ingest reads chains.
type Ingest interface {
	// Announce says that a publisher has an advertisement, durably. Whose publisher is not allowed
	// matches fs.ErrPermission, and what comes too often wire.ErrBusy.
	Announce(ctx context.Context, ad cid.Cid, publisher peer.AddrInfo) error
	// Publishers returns the status of each publisher, or of one if only is set. None is no error.
	Publishers(ctx context.Context, only peer.ID) ([]PublisherStatus, error)
	// Ad returns what became of an advertisement.
	Ad(ctx context.Context, ad cid.Cid) (AdStatus, error)
}

// Registrar takes the addresses that providers say they have.
type Registrar interface {
	// Register stores what a provider signed. What is older than what is known matches fs.ErrInvalid, who is
	// not allowed fs.ErrPermission.
	Register(ctx context.Context, r *peer.PeerRecord) error
}

// Options adjusts a [Handler]. A nil Options or a zero field means the default.
type Options struct {
	Registrar Registrar // default: nobody can register
	Version   string    // told by /health; default none
	Logger    *slog.Logger
}

// Handler serves publishers.
type Handler struct {
	ingest Ingest
	o      Options
}

// New returns a Handler of ingest.
func New(ingest Ingest, o *Options) *Handler {
	h := &Handler{ingest: ingest}
	if o != nil {
		h.o = *o
	}
	return h
}

const (
	putMethods  = "PUT, OPTIONS"
	postMethods = "POST, OPTIONS"
	getMethods  = "GET, HEAD, OPTIONS"
)

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	name, status := strings.CutPrefix(path, "/sync/status")
	switch {
	case path == "/announce" || path == "/ingest/announce":
		h.answer(w, r, putMethods, h.announce)
	case path == "/register":
		h.answer(w, r, postMethods, h.register)
	case name == "/ad" && status:
		h.answer(w, r, postMethods, h.ads)
	case strings.HasPrefix(name, "/ad/") && status:
		h.answer(w, r, getMethods, h.ad)
	case status && (name == "" || strings.HasPrefix(name, "/")):
		h.answer(w, r, getMethods, h.publishers)
	case path == "/health":
		h.answer(w, r, getMethods, h.health)
	default:
		wire.WriteError(w, r, http.StatusNotFound, wire.Refuse(http.StatusNotFound, "no such route"), nil)
	}
}

// answer checks the method, and answers what f returns. Scripts of all sites may ask: nothing here
// depends on who does.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, methods string, f func(http.ResponseWriter, *http.Request) error) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Methods", methods)
		w.Header().Set("Access-Control-Allow-Headers", "Accept, Content-Type")
	}
	if !wire.Allow(w, r, methods, strings.Split(methods, ", ")[:strings.Count(methods, ",")]...) {
		return
	}
	if err := f(w, r); err != nil {
		wire.WriteError(w, r, statusOf(err), err, h.o.Logger)
	}
}

// statusOf is that of package wire, but for who is busy with one publisher only.
func statusOf(err error) int {
	var answer *wire.Error
	if errors.Is(err, wire.ErrBusy) && !errors.As(err, &answer) {
		return http.StatusTooManyRequests
	}
	return wire.StatusOf(err)
}

// read returns the body of a request.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if large := (*http.MaxBytesError)(nil); err != nil && !errors.As(err, &large) {
		err = wire.Refuse(http.StatusBadRequest, "the body did not come: %v", err)
	}
	return data, err
}

// announce takes a message in CBOR, or in JSON if it says so.
func (h *Handler) announce(w http.ResponseWriter, r *http.Request) error {
	data, err := read(w, r)
	if err != nil {
		return err
	}
	decode := ad.DecodeMessage
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == "application/json" {
		decode = ad.DecodeMessageJSON
	}
	m, err := decode(data)
	if err != nil {
		return wire.Refuse(http.StatusBadRequest, "%v", err)
	}
	publisher, err := publisherOf(m)
	if err != nil {
		return err
	}
	if err := h.ingest.Announce(r.Context(), m.CID, publisher); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// publisherOf returns who announces, and where: the one peer that all addresses name.
func publisherOf(m ad.Message) (peer.AddrInfo, error) {
	if len(m.Addrs) == 0 {
		return peer.AddrInfo{}, wire.Refuse(http.StatusBadRequest, "an announcement must say at which address the advertisement is")
	}
	infos, err := peer.AddrInfosFromP2pAddrs(m.Addrs...)
	if err != nil {
		return peer.AddrInfo{}, wire.Refuse(http.StatusBadRequest, "%v", err)
	}
	if len(infos) != 1 {
		return peer.AddrInfo{}, wire.Refuse(http.StatusBadRequest, "the addresses are of %d peers, not of one", len(infos))
	}
	return infos[0], nil
}

// register takes a record of addresses in an envelope that the provider itself has signed.
func (h *Handler) register(w http.ResponseWriter, r *http.Request) error {
	if h.o.Registrar == nil {
		return wire.Refuse(http.StatusNotImplemented, "providers are known by their advertisements here")
	}
	data, err := read(w, r)
	if err != nil {
		return err
	}
	rec, err := openRecord(data)
	if err != nil {
		return wire.Refuse(http.StatusBadRequest, "register: %v", err)
	}
	return h.o.Registrar.Register(r.Context(), rec)
}

func openRecord(data []byte) (*peer.PeerRecord, error) {
	envelope, any, err := record.ConsumeEnvelope(data, peer.PeerRecordEnvelopeDomain)
	if err != nil {
		return nil, err
	}
	rec, ok := any.(*peer.PeerRecord)
	if !ok {
		return nil, errors.New("the envelope holds no peer record")
	}
	if !rec.PeerID.MatchesPublicKey(envelope.PublicKey) {
		return nil, errors.New("somebody else than the provider has signed")
	}
	if len(rec.Addrs) == 0 || len(rec.Addrs) > ad.MaxAddrs {
		return nil, errors.New(strconv.Itoa(len(rec.Addrs)) + " addresses")
	}
	return rec, nil
}

func (h *Handler) health(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, strings.TrimSpace("ready "+h.o.Version)+"\n")
	return nil
}

// document answers JSON that changes from one moment to the next.
func document(w http.ResponseWriter, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(data) // who is gone is gone
	return nil
}
