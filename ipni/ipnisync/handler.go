package ipnisync

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/hashstream/hashstream/ipni"
)

// HandlerOptions adjusts a [Handler]. A nil HandlerOptions or a zero field means the default.
type HandlerOptions struct {
	Topic string       // that heads name; default none, which means /indexer/ingest/mainnet
	Log   *slog.Logger // for failures of the chain; default none
}

// maxCIDText is the longest text of a CID, in bytes: decoding base 58 takes quadratic time.
const maxCIDText = 256

type server struct {
	chain ipni.Chain
	key   crypto.PrivKey
	o     HandlerOptions

	mu     sync.Mutex
	head   cid.Cid
	signed []byte // of head
}

// Handler serves a chain, whose heads it signs with key. Blocks are asked of it with the
// kind that the request names, or with none. It answers below [Path] and at the root,
// where libp2p and old clients ask; mount it behind [http.StripPrefix] elsewhere.
func Handler(chain ipni.Chain, key crypto.PrivKey, o *HandlerOptions) http.Handler {
	s := &server{chain: chain, key: key}
	if o != nil {
		s.o = *o
	}
	return s
}

// ServeHTTP answers a request.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	// Over libp2p what is stripped leaves no slash.
	name := strings.TrimPrefix(r.URL.Path, "/")
	name = strings.TrimPrefix(name, Path[1:]+"/")
	switch {
	case name == "head":
		s.serveHead(w, r)
	case name == "" || strings.Contains(name, "/"):
		http.Error(w, "no such resource", http.StatusNotFound)
	default:
		s.serveBlock(w, r, name)
	}
}

func (s *server) serveHead(w http.ResponseWriter, r *http.Request) {
	c, err := s.chain.Head(r.Context())
	if errors.Is(err, fs.ErrNotExist) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var signed []byte
	if err == nil {
		signed, err = s.sign(c)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	serve(w, r, "application/json", c, signed)
}

// sign returns the signed head, which is made once for each.
func (s *server) sign(c cid.Cid) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head != c || s.signed == nil {
		signed, err := signHead(c, s.o.Topic, s.key)
		if err != nil {
			return nil, err
		}
		s.head, s.signed = c, signed
	}
	return s.signed, nil
}

func (s *server) serveBlock(w http.ResponseWriter, r *http.Request, name string) {
	if len(name) > maxCIDText {
		http.Error(w, "not a CID", http.StatusBadRequest)
		return
	}
	c, err := cid.Decode(name)
	if err != nil {
		http.Error(w, "not a CID", http.StatusBadRequest)
		return
	}
	kind := ipni.Kind(r.Header.Get(schemaHeader))
	if kind != ipni.Advertisement && kind != ipni.EntryChunk {
		kind = ""
	}
	block, err := s.chain.Block(r.Context(), c, kind)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.Header().Set("Cache-Control", "no-store") // it may come
		http.Error(w, "no such block", http.StatusNotFound)
	case err != nil:
		s.fail(w, r, err)
	default:
		w.Header().Set("Cache-Control", "public, max-age=29030400, immutable")
		serve(w, r, contentType(c), c, block)
	}
}

func contentType(c cid.Cid) string {
	switch c.Type() {
	case cid.DagJSON:
		return "application/vnd.ipld.dag-json"
	case cid.DagCBOR:
		return "application/vnd.ipld.dag-cbor"
	}
	return "application/octet-stream"
}

// serve answers with bytes that the CID stands for.
func serve(w http.ResponseWriter, r *http.Request, contentType string, c cid.Cid, data []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Etag", `"`+c.String()+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// fail answers that the chain cannot be read. Why is not for the client.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if s.o.Log != nil && r.Context().Err() == nil {
		s.o.Log.ErrorContext(r.Context(), "the chain cannot be read", "path", r.URL.Path, "err", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "the chain cannot be read", http.StatusInternalServerError)
}
