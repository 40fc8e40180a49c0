package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestConcurrencyLimit(t *testing.T) {
	refused := 0
	l := NewConcurrencyLimit(2, func(*http.Request) { refused++ })
	enter, leave := make(chan bool), make(chan bool)
	h := l.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { enter <- true; <-leave }))
	for range 2 {
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		<-enter
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 429 || w.Header().Get("Retry-After") != "1" || w.Header().Get("Access-Control-Allow-Origin") != "*" || refused != 1 {
		t.Errorf("third request: %d %v, refused %d", w.Code, w.Header(), refused)
	}
	if l.Active() != 2 {
		t.Errorf("%d active", l.Active())
	}
	leave <- true
	done := make(chan bool)
	go func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)); close(done) }()
	select {
	case <-enter:
	case <-done: // the one that left had not counted itself out yet
	}
	close(leave)
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewRateLimit(0.5, &RateOptions{Burst: 3})
		h := l.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		ask := func(addr string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = addr
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		for i := range 3 {
			if w := ask(fmt.Sprintf("[2001:db8::%d]:1234", i)); w.Code != 200 {
				t.Fatalf("request %d: %d", i, w.Code)
			}
		}
		w := ask("[2001:db8::ffff:1]:99")
		if w.Code != 429 || w.Header().Get("Retry-After") != "2" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("over the rate: %d %v", w.Code, w.Header())
		}
		if w := ask("[2001:db8:0:1::1]:99"); w.Code != 200 {
			t.Errorf("another network: %d", w.Code)
		}
		time.Sleep(2 * time.Second)
		if w := ask("[2001:db8::1]:99"); w.Code != 200 {
			t.Errorf("after Retry-After: %d", w.Code)
		}
	})
}

func TestRateLimitForgets(t *testing.T) {
	l := NewRateLimit(1, &RateOptions{Clients: 10})
	stays := l.limiter(netip.AddrFrom4([4]byte{1, 1, 1, 1}))
	for i := range 1000 {
		l.limiter(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		l.limiter(netip.AddrFrom4([4]byte{1, 1, 1, 1})) // stays, because it is recent
	}
	if len(l.clients) != 10 || l.recent.Len() != 10 || l.limiter(netip.AddrFrom4([4]byte{1, 1, 1, 1})) != stays {
		t.Errorf("%d clients, %d in the list", len(l.clients), l.recent.Len())
	}
}

func TestClientAddress(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		trusted []netip.Prefix
		remote  string
		headers []string
		want    string
	}{
		{nil, "1.2.3.4:5", []string{"9.9.9.9"}, "1.2.3.4"},
		{nil, "[::ffff:1.2.3.4]:5", nil, "1.2.3.4"},
		{nil, "[fe80::1%eth0]:5", nil, "fe80::"},
		{nil, "[2001:db8::1%eth0]:5", nil, "2001:db8::"},
		{nil, "@", nil, "invalid IP"},
		{proxies, "1.2.3.4:5", []string{"9.9.9.9"}, "1.2.3.4"},
		{proxies, "10.1.1.1:5", []string{"6.6.6.6, 9.9.9.9"}, "9.9.9.9"},
		{proxies, "10.1.1.1:5", []string{"6.6.6.6, 9.9.9.9, 10.2.2.2"}, "9.9.9.9"},
		{proxies, "10.1.1.1:5", []string{"6.6.6.6", "9.9.9.9,10.2.2.2", "fd00::7"}, "9.9.9.9"},
		{proxies, "10.1.1.1:5", []string{"6.6.6.6, nonsense"}, "10.1.1.1"},
		{proxies, "10.1.1.1:5", nil, "10.1.1.1"},
		{proxies, "[fd00::1]:5", []string{"2001:db8:1:2:3:4:5:6"}, "2001:db8:1:2::"},
	} {
		l := NewRateLimit(1, &RateOptions{TrustedProxies: c.trusted})
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		r.Header["X-Forwarded-For"] = c.headers
		if got := l.Client(r).String(); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.remote, c.headers, got, c.want)
		}
	}
}
