package ipnisync_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ipni/go-libipni/dagsync/ipnisync/head"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// fixed answers all requests with the same bytes.
type fixed []byte

func (f fixed) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(f)), ContentLength: int64(len(f)), Request: r}, nil
}

// signed returns the head of the chain of the n-th key.
func signed(tb testing.TB, n byte, topic string) (peer.ID, *head.SignedHead, []byte) {
	tb.Helper()
	key, id := ipnitest.Key(n)
	s, err := head.NewSignedHead(ipnitest.NewChain(key).Grow(tb, 1).Tip(), topic, key)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := s.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return id, s, b
}

func TestForgedHeads(t *testing.T) {
	id, s, good := signed(t, 1, "/topic")
	_, other, _ := signed(t, 2, "/topic")
	changed := func(change func(*head.SignedHead)) []byte {
		c := *s
		change(&c)
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	topic := "/other"
	for name, b := range map[string][]byte{
		"head": changed(func(s *head.SignedHead) { s.Head = other.Head }), "topic": changed(func(s *head.SignedHead) { s.Topic = &topic }),
		"no topic": changed(func(s *head.SignedHead) { s.Topic = nil }), "signature": changed(func(s *head.SignedHead) { s.Sig = other.Sig }),
		"no signature": changed(func(s *head.SignedHead) { s.Sig = nil }), "key": changed(func(s *head.SignedHead) { s.Pubkey = other.Pubkey }),
		"no key": changed(func(s *head.SignedHead) { s.Pubkey = nil }), "another": changed(func(s *head.SignedHead) { *s = *other }),
		"long": append(bytes.Clone(good), bytes.Repeat([]byte{' '}, 8<<10)...), "text": []byte(strings.Repeat("[", 8<<10)),
	} {
		if c, err := ipnisync.Over(id, fixed(b), nil).Head(t.Context()); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: %s, %v", name, c, err)
		}
	}
	if c, err := ipnisync.Over(id, fixed(good), nil).Head(t.Context()); err != nil || c.String() != s.Head.String() {
		t.Errorf("%s, %v", c, err)
	}
}

// FuzzHead wants what go-libipni accepts, of the right publisher, and no more.
func FuzzHead(f *testing.F) {
	id, _, good := signed(f, 1, "/topic")
	f.Add(good)
	_, _, other := signed(f, 2, "")
	f.Add(other)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ipnisync.Over(id, fixed(data), nil).Head(t.Context())
		if err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Fatalf("the error matches nothing: %v", err)
		}
		s, theirs := head.Decode(bytes.NewReader(data))
		var signer peer.ID
		if theirs == nil {
			signer, theirs = s.Validate()
		}
		good := theirs == nil && signer == id && len(data) <= 8<<10
		if good != (err == nil) || good && s.Head.String() != c.String() {
			t.Errorf("%s, %v; go-libipni: %v by %s, %v", c, err, s, signer, theirs)
		}
	})
}
