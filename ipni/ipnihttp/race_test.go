package ipnihttp_test

import (
	"context"
	"encoding/base64"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
)

// writes is a client that is gone, and tells when something is sent to it.
type writes struct {
	*httptest.ResponseRecorder
	once sync.Once
	some chan struct{}
}

func (w *writes) Write([]byte) (int, error) {
	w.once.Do(func() { close(w.some) })
	return 0, errors.New("gone")
}

// second waits, from the second lookup on, until the results of the first one were sent.
type second struct {
	*memory
	calls int
	some  chan struct{}
}

func (s *second) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	if s.calls++; s.calls > 1 {
		<-s.some
	}
	return s.memory.Find(ctx, mh)
}

// TestBatchGone looks up a batch whose lines a timer sends to somebody who is gone. Whether he is, is
// asked between lookups: for the race detector.
func TestBatchGone(t *testing.T) {
	some := make(chan struct{})
	s := &second{memory: newMemory(), some: some}
	var list []string
	for n := range 20 {
		mh := hash(t, n)
		s.add(t, mh, byte(n))
		list = append(list, `"`+base64.StdEncoding.EncodeToString(mh)+`"`)
	}
	h := ipnihttp.New(ipnihttp.Index{Finder: s}, nil)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/multihash", strings.NewReader(`{"Multihashes":[`+strings.Join(list, ",")+`]}`))
	r.Header.Set("Accept", "application/x-ndjson")
	h.ServeHTTP(&writes{ResponseRecorder: httptest.NewRecorder(), some: some}, r)
	if s.calls == len(list) { // 1 if the timer was faster than the second lookup
		t.Errorf("%d lookups for a client that was gone after the first", s.calls)
	}
}
