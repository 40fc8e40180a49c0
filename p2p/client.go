package p2p

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	libp2phttp "github.com/libp2p/go-libp2p/p2p/http"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/hashstream/hashstream/ipni/ad"
)

// ErrProtocol reports a peer that does not serve a protocol over HTTP.
var ErrProtocol = errors.New("the peer does not speak the protocol")

const (
	maxHeader    = 64 << 10 // bytes of the head of an answer
	maxProtocols = 64 << 10 // bytes of the list of a peer's protocols
)

// roundTripper sends requests to one peer.
type roundTripper struct {
	host     *Host
	server   peer.AddrInfo
	protocol string
	prefix   atomic.Pointer[string] // where the peer serves the protocol
}

// RoundTripper returns what sends HTTP requests to a peer, over streams of a connection
// that is kept: to the root of a protocol, wherever the peer says it stands. Host and
// scheme of URLs mean nothing. The peer is authenticated. Of its addresses those of HTTP
// are left out.
func (h *Host) RoundTripper(server peer.AddrInfo, protocol string) http.RoundTripper {
	rt := &roundTripper{host: h, server: peer.AddrInfo{ID: server.ID}, protocol: protocol}
	for _, a := range server.Addrs {
		if _, err := ad.URL(a); err != nil {
			rt.server.Addrs = append(rt.server.Addrs, a)
		}
	}
	return rt
}

// RoundTrip sends a request and returns the answer, whose body must be closed.
func (rt *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	prefix, err := rt.root(r.Context())
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, fmt.Errorf("p2p: %s at %s: %w", rt.protocol, rt.server.ID, err)
	}
	out := r.Clone(r.Context())
	out.URL.Path, out.URL.RawPath = prefix+"/"+strings.TrimPrefix(r.URL.Path, "/"), ""
	return rt.send(out)
}

// root returns the path of the protocol, without a slash at its end.
func (rt *roundTripper) root(ctx context.Context) (string, error) {
	if known := rt.prefix.Load(); known != nil {
		return *known, nil
	}
	var failed error
	for _, path := range []string{libp2phttp.WellKnownProtocols, libp2phttp.LegacyWellKnownProtocols} {
		protocols, err := rt.protocols(ctx, path)
		if err != nil {
			failed = err
			if !errors.Is(err, ErrProtocol) {
				return "", err
			}
			continue
		}
		meta, ok := protocols[protocol.ID(rt.protocol)]
		if !ok {
			return "", ErrProtocol
		}
		u, err := url.Parse(meta.Path)
		if err != nil {
			return "", fmt.Errorf("%w: at the path %.64q", ErrProtocol, meta.Path)
		}
		prefix := strings.TrimSuffix(u.Path, "/")
		rt.prefix.Store(&prefix)
		return prefix, nil
	}
	return "", failed
}

// protocols asks the peer what it serves, and where.
func (rt *roundTripper) protocols(ctx context.Context, path string) (libp2phttp.PeerMeta, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+rt.server.ID.String()+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	res, err := rt.send(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		if res.StatusCode >= 500 {
			return nil, fmt.Errorf("the peer answered %s", res.Status)
		}
		return nil, fmt.Errorf("%w: it answered %s", ErrProtocol, res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxProtocols+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxProtocols {
		return nil, fmt.Errorf("%w: more than %d bytes of protocols", ErrProtocol, maxProtocols)
	}
	var meta libp2phttp.PeerMeta
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return meta, nil
}

// send sends a request over a stream of its own.
func (rt *roundTripper) send(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	rt.host.host.Peerstore().AddAddrs(rt.server.ID, rt.server.Addrs, peerstore.TempAddrTTL)
	s, err := rt.host.host.NewStream(ctx, rt.server.ID, libp2phttp.ProtocolIDForMultistreamSelect)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, dialError(rt.server.ID, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	r.Host, r.Close = rt.server.ID.String(), true
	if r.Body == nil || r.Body == http.NoBody {
		err = errors.Join(r.Write(s), s.CloseWrite())
	} else {
		go func() { // ends with the stream, at the latest
			_ = r.Write(s)
			_ = s.CloseWrite()
		}()
	}
	if err == nil {
		// The head counts against a limit, the body is for the caller to limit.
		head := &io.LimitedReader{R: s, N: maxHeader}
		var res *http.Response
		if res, err = http.ReadResponse(bufio.NewReader(head), r); err == nil {
			head.N = math.MaxInt64
			res.Body = &body{res.Body, s, stop, false}
			return res, nil
		}
	}
	stop()
	_ = s.Reset()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("p2p: %s: %w", rt.server.ID, err)
}

// body is the body of an answer, with the stream that it comes by.
type body struct {
	io.ReadCloser
	stream network.Stream
	stop   func() bool
	ended  bool
}

// Read reads on.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err == io.EOF
	return n, err
}

// Close ends the stream. What is left of the body is not waited for.
func (b *body) Close() error {
	b.stop()
	if b.ended {
		return b.stream.Close()
	}
	return b.stream.Reset()
}

// dialError names the peer, and the reason if it is one of ours.
func dialError(id peer.ID, err error) error {
	if errors.Is(err, swarm.ErrGaterDisallowedConnection) {
		err = fmt.Errorf("%w: %w", ad.ErrPrivate, err)
	}
	return fmt.Errorf("p2p: dial %s: %w", id, err)
}
