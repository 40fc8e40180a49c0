package p2p

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"
	libp2phttp "github.com/libp2p/go-libp2p/p2p/http"
	"github.com/libp2p/go-libp2p/p2p/net/gostream"
)

// Of requests over streams.
const (
	readTimeout  = 30 * time.Second
	writeTimeout = 5 * time.Minute
)

// Serve serves a protocol over HTTP to all peers, at the path of its name, until the
// host is closed. The handler sees paths without it. Each protocol is served once.
func (h *Host) Serve(name string, handler http.Handler) error {
	path := "/" + strings.Trim(name, "/")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	if h.server == nil {
		if err := h.listen(); err != nil {
			return fmt.Errorf("p2p: serve %s: %w", name, err)
		}
	}
	if h.protocols[path] {
		return fmt.Errorf("p2p: serve %s: it is served already", name)
	}
	h.protocols[path] = true
	h.mux.Handle(path+"/", http.StripPrefix(path, handler))
	h.wellKnown.AddProtocolMeta(protocol.ID(name), libp2phttp.ProtocolMeta{Path: path + "/"})
	return nil
}

// listen begins to take streams of HTTP.
func (h *Host) listen() error {
	l, err := gostream.Listen(h.host, libp2phttp.ProtocolIDForMultistreamSelect, gostream.IgnoreEOF())
	if err != nil {
		return err
	}
	h.mux, h.wellKnown, h.served = http.NewServeMux(), &libp2phttp.WellKnownHandler{}, make(chan struct{})
	h.mux.Handle(libp2phttp.WellKnownProtocols, h.wellKnown)
	h.mux.Handle(libp2phttp.LegacyWellKnownProtocols, h.wellKnown)
	mux := h.mux
	h.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close") // a stream is for one request
			mux.ServeHTTP(w, r)
		}),
		ReadTimeout: readTimeout, WriteTimeout: writeTimeout, MaxHeaderBytes: maxHeader,
	}
	server, served := h.server, h.served
	go func() {
		defer close(served)
		_ = server.Serve(l) // until it is closed
	}()
	return nil
}
