package gateway_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/gateway"
)

// oneBlock is an opener of a block that a test may break.
type oneBlock struct {
	data   []byte
	broken atomic.Bool
}

func (o *oneBlock) Open(context.Context, block.Selection) (block.Body, error) { return o, nil }
func (o *oneBlock) Size() (int64, bool)                                       { return int64(len(o.data)), true }
func (o *oneBlock) Variant() string                                           { return "v" }

func (o *oneBlock) Send(_ context.Context, w io.Writer) (int64, error) {
	half := len(o.data) / 2
	n, err := w.Write(o.data[:half])
	if err != nil || o.broken.Load() {
		return int64(n), digest.ErrMismatch
	}
	m, err := w.Write(o.data[half:])
	return int64(n + m), err
}

// TestHeldAnswers asks one connection again and again: an answer that is held back
// must arrive whole, and without waiting for the next request.
func TestHeldAnswers(t *testing.T) {
	for _, size := range []int{0, 1, 3000, 4096, 16 << 10, 16<<10 + 1, 100_000} {
		content := &oneBlock{data: bytes.Repeat([]byte("x"), size)}
		d, err := digest.Sum(digest.SHA256, content.data)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: gateway.New(content, nil), ConnContext: gateway.ConnContext}
		go s.Serve(gateway.Listen(l))
		client := &http.Client{Timeout: 5 * time.Second}
		url := "http://" + l.Addr().String() + "/ipfs/" + d.String() + "?format=raw"
		for range 3 {
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(got, content.data) {
				t.Errorf("%d bytes: got %d, %v", size, len(got), err)
			}
		}
		if size > 0 {
			content.broken.Store(true)
			if resp, err := client.Get(url); err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
				if err == nil && resp.StatusCode == http.StatusOK {
					t.Errorf("%d bytes: a broken answer looks whole", size)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		client.CloseIdleConnections()
	}
}
