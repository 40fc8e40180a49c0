package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/block"
)

// rawCID names data.
func rawCID(data string) cid.Cid {
	sum, err := multihash.Sum([]byte(data), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.Raw, sum)
}

// fake is an Opener that has prepared bodies, and records what it was asked for.
type fake struct {
	bodies map[cid.Cid]block.Body
	err    error
	asked  []block.Selection
	ctx    context.Context
}

func (f *fake) Open(ctx context.Context, sel block.Selection) (block.Body, error) {
	f.asked = append(f.asked, sel)
	f.ctx = ctx
	if f.err != nil {
		return nil, f.err
	}
	if b, ok := f.bodies[sel.Root]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("fake: %s: %w", sel.Root, fs.ErrNotExist)
}

// fakeBody sends data in one piece, then fails with err.
type fakeBody struct {
	data    string
	size    int64 // promised; -1: unknown
	variant string
	err     error
	file    bool // send by ReadFrom
	sends   int
}

func (b *fakeBody) Size() (int64, bool) { return b.size, b.size >= 0 }
func (b *fakeBody) Variant() string     { return b.variant }

func (b *fakeBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	return b.SendRange(ctx, w, 0, int64(len(b.data)))
}

func (b *fakeBody) SendRange(_ context.Context, w io.Writer, off, n int64) (int64, error) {
	b.sends++
	part := b.data[off : off+n]
	if part == "" {
		return 0, b.err
	}
	if b.file {
		sent, err := w.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: bytes.NewReader([]byte(b.data[off:])), N: n})
		if err == nil {
			err = b.err
		}
		return sent, err
	}
	sent, err := io.WriteString(w, part)
	if err == nil {
		err = b.err
	}
	return int64(sent), err
}

func whole(data string) *fakeBody {
	return &fakeBody{data: data, size: int64(len(data)), variant: "v"}
}

// one returns a fake that has body under the CID of data, and the CID's text.
func one(data string, body block.Body) (*fake, string) {
	c := rawCID(data)
	return &fake{bodies: map[cid.Cid]block.Body{c: body}}, c.String()
}

// ask sends a request to a Handler over f. Headers are pairs.
func ask(t *testing.T, f *fake, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	New(f, nil).ServeHTTP(w, r)
	return w
}

// serve runs a Handler on both protocols and returns its URL.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// clients returns a client of each protocol.
func clients(t *testing.T) map[string]*http.Client {
	t.Helper()
	out := map[string]*http.Client{}
	for _, name := range []string{"HTTP/1.1", "HTTP/2"} {
		p := new(http.Protocols)
		p.SetHTTP1(name == "HTTP/1.1")
		p.SetUnencryptedHTTP2(name == "HTTP/2")
		tr := &http.Transport{Protocols: p, DisableCompression: true}
		t.Cleanup(tr.CloseIdleConnections)
		out[name] = &http.Client{Transport: tr}
	}
	return out
}
