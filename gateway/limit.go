package gateway

import (
	"container/list"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// ConcurrencyLimit bounds the requests that are answered at the same time. What
// is over the limit gets 429 at once; nothing queues.
type ConcurrencyLimit struct {
	most    int64
	active  atomic.Int64
	refused func(*http.Request)
	fixed   fixedHeaders
}

// NewConcurrencyLimit allows most requests at the same time; zero or less means
// any number. refused, if not nil, is called for each request over the limit.
func NewConcurrencyLimit(most int, refused func(*http.Request)) *ConcurrencyLimit {
	return &ConcurrencyLimit{most: int64(most), refused: refused, fixed: newFixedHeaders()}
}

// Active returns the number of requests being answered.
func (l *ConcurrencyLimit) Active() int { return int(l.active.Load()) }

// Wrap returns next behind the limit. The ResponseWriter is handed on as it is.
func (l *ConcurrencyLimit) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer l.active.Add(-1)
		if n := l.active.Add(1); l.most > 0 && n > l.most {
			turnAway(w, r, l.refused, &l.fixed, time.Second, "Too many requests: the gateway is busy; try again later.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// RateOptions adjusts a [RateLimit].
type RateOptions struct {
	Burst   int // requests a client may make at once; default twice the rate, at least 1
	Clients int // clients remembered, the least recent forgotten first; default 65,536, about 20 MiB
	// TrustedProxies are networks whose word on the client's address is taken, in
	// the header ProxyHeader. Default none: the header is a claim anybody can make.
	TrustedProxies []netip.Prefix
	ProxyHeader    string              // a list of addresses; default X-Forwarded-For
	Refused        func(*http.Request) // called for each request over the limit
}

// RateLimit bounds the requests per second of each client: an IPv4 address, or
// the /64 network of an IPv6 address. What is over the limit gets 429 with
// Retry-After. It holds a bounded table of clients.
type RateLimit struct {
	rate  rate.Limit
	burst int
	o     RateOptions
	fixed fixedHeaders

	mu      sync.Mutex
	clients map[netip.Addr]*list.Element
	recent  *list.List // of *client, the most recent first
}

type client struct {
	addr    netip.Addr
	limiter *rate.Limiter
}

// NewRateLimit allows each client perSecond requests a second in the long run;
// zero or less means any number.
func NewRateLimit(perSecond float64, o *RateOptions) *RateLimit {
	l := &RateLimit{rate: rate.Limit(perSecond), fixed: newFixedHeaders(), clients: make(map[netip.Addr]*list.Element), recent: list.New()}
	if o != nil {
		l.o = *o
	}
	if l.burst = l.o.Burst; l.burst <= 0 {
		l.burst = max(1, int(math.Ceil(2*perSecond)))
	}
	if l.o.Clients <= 0 {
		l.o.Clients = 1 << 16
	}
	if l.o.ProxyHeader == "" {
		l.o.ProxyHeader = "X-Forwarded-For"
	}
	return l
}

// Wrap returns next behind the limit. The ResponseWriter is handed on as it is.
func (l *RateLimit) Wrap(next http.Handler) http.Handler {
	if l.rate <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		lim := l.limiter(l.Client(r))
		if !lim.AllowN(now, 1) {
			wait := time.Duration((1 - lim.TokensAt(now)) / float64(l.rate) * float64(time.Second))
			turnAway(w, r, l.o.Refused, &l.fixed, wait, "Too many requests: this address asks more often than it may; try again later.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Client returns the address that r counts against. The zero Addr stands for
// all peers without one, such as those of a unix socket.
func (l *RateLimit) Client(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	if l.trusted(addr) {
		addr = l.forwarded(addr, r.Header.Values(l.o.ProxyHeader))
	}
	if addr.Is6() {
		network, _ := addr.Prefix(64) // 64 is within an IPv6 address
		return network.Addr()
	}
	return addr
}

// forwarded walks the list of addresses from the right, where the nearest proxy
// wrote, to the first that is not a trusted proxy.
func (l *RateLimit) forwarded(addr netip.Addr, headers []string) netip.Addr {
	for i := len(headers) - 1; i >= 0; i-- {
		for rest := headers[i]; rest != ""; {
			last := rest
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, last = rest[:at], rest[at+1:]
			} else {
				rest = ""
			}
			said, err := netip.ParseAddr(strings.TrimSpace(last))
			if err != nil {
				return addr
			}
			if addr = said.Unmap(); !l.trusted(addr) {
				return addr
			}
		}
	}
	return addr
}

func (l *RateLimit) trusted(addr netip.Addr) bool {
	for _, p := range l.o.TrustedProxies {
		if p.Contains(addr.WithZone("")) {
			return true
		}
	}
	return false
}

// limiter returns the limiter of a client, and makes room for a new one.
func (l *RateLimit) limiter(addr netip.Addr) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.clients[addr]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*client).limiter
	}
	if l.recent.Len() >= l.o.Clients {
		oldest := l.recent.Back()
		delete(l.clients, l.recent.Remove(oldest).(*client).addr)
	}
	c := &client{addr, rate.NewLimiter(l.rate, l.burst)}
	l.clients[addr] = l.recent.PushFront(c)
	return c.limiter
}

// turnAway answers 429. Browsers may read the answer as any other.
func turnAway(w http.ResponseWriter, r *http.Request, refused func(*http.Request), f *fixedHeaders, wait time.Duration, reason string) {
	if refused != nil {
		refused(r)
	}
	f.cors(w.Header())
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	writeError(w, r, &Error{
		Status: http.StatusTooManyRequests, Reason: reason, header: "Retry-After", value: strconv.Itoa(seconds),
	})
}
