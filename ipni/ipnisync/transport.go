package ipnisync

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/hashstream/hashstream/ipni/ad"
)

// ErrPrivate reports an address that is not of the public internet.
var ErrPrivate = ad.ErrPrivate

// Of connections that are made here.
const (
	dialTimeout    = 10 * time.Second
	idleTimeout    = 90 * time.Second
	maxHeaderBytes = 64 << 10
	connsPerHost   = 16
)

// NewTransport returns a transport for clients of any number of publishers. It keeps
// connections, speaks to the publisher and no proxy, and takes no compressed answers.
// Unless allowPrivate is set, it dials public addresses only, which it judges after names
// are resolved: neither a name nor a redirect leads elsewhere.
func NewTransport(allowPrivate bool) *http.Transport {
	dialer := net.Dialer{Timeout: dialTimeout}
	if !allowPrivate {
		dialer.Control = guard
	}
	return &http.Transport{
		DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialTimeout,
		DisableCompression: true, MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost: connsPerHost, IdleConnTimeout: idleTimeout,
	}
}

// guard refuses a connection before it is made.
func guard(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q", ErrPrivate, address)
	}
	if !ad.Public(a.Addr()) {
		return fmt.Errorf("%w: %s", ErrPrivate, a.Addr())
	}
	return nil
}
