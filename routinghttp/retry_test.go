package routinghttp_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/routinghttp"
)

// busy answers like a server that is overloaded, and notes when it was asked.
type busy struct {
	retryAfter string
	asked      []time.Time
}

// RoundTrip implements http.RoundTripper.
func (b *busy) RoundTrip(*http.Request) (*http.Response, error) {
	b.asked = append(b.asked, time.Now())
	h := http.Header{}
	if b.retryAfter != "" {
		h.Set("Retry-After", b.retryAfter)
	}
	return &http.Response{StatusCode: http.StatusTooManyRequests, Header: h, Body: io.NopCloser(strings.NewReader("busy"))}, nil
}

// A client never comes back earlier than it was asked to, and not much later; who asks for
// more than is waited is not asked again.
func TestRetryAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		header          string
		timeout         time.Duration
		earliest, limit time.Duration // of each pause
		attempts        int
	}{
		"nothing said":         {"", 0, 50 * time.Millisecond, 300 * time.Millisecond, 3},
		"a second":             {"1", 0, time.Second, 1250 * time.Millisecond, 3},
		"longer than our own":  {"7", 0, 7 * time.Second, 8750 * time.Millisecond, 3},
		"too long":             {"11", 0, 0, 0, 1},
		"later than the limit": {"5", 4 * time.Second, 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			for range 50 {
				synctest.Test(t, func(t *testing.T) {
					b := &busy{retryAfter: tt.header}
					c := newClient(t, "http://router.example", &routinghttp.ClientOptions{Transport: b, Timeout: tt.timeout})
					_, err := collect(c.Find(t.Context(), testCID(t).Hash()))
					if e := (*routinghttp.Error)(nil); !errors.As(err, &e) || e.Status != http.StatusTooManyRequests {
						t.Errorf("error %v", err)
					}
					if len(b.asked) != tt.attempts {
						t.Errorf("%d attempts, want %d", len(b.asked), tt.attempts)
					}
					for i := 1; i < len(b.asked); i++ {
						if p := b.asked[i].Sub(b.asked[i-1]); p < tt.earliest || p > tt.limit {
							t.Errorf("a pause of %s, want from %s to %s", p, tt.earliest, tt.limit)
						}
					}
				})
			}
		})
	}
}
