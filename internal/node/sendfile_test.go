package node

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/obs"
	"github.com/hashstream/hashstream/unixfs"
)

// fileWriter is a server's writer that counts what arrives as a file, in the form
// that the network sends without copying.
type fileWriter struct {
	*httptest.ResponseRecorder
	files, bytes int64
}

func (w *fileWriter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(io.Discard, r)
	w.bytes += n
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			w.files += n
		}
	}
	return n, err
}

func (w *fileWriter) Write(b []byte) (int, error) {
	w.bytes += int64(len(b))
	return len(b), nil
}

func (w *fileWriter) SetWriteDeadline(time.Time) error { return nil }

// TestFilesReachTheConnection sends through every layer of a node.
func TestFilesReachTheConnection(t *testing.T) {
	c := config.Default(t.TempDir())
	log, err := obs.NewLogger(io.Discard, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	c.Gateway.Rate, c.Gateway.Burst = 1000, 1000
	n := &server{config: c, log: log, metrics: obs.NewMetrics("test")}
	defer n.close()
	if err := n.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv, err := n.publicServer()
	if err != nil {
		t.Fatal(err)
	}
	dst, err := n.stores.Destination(index.LevelAll)
	if err != nil {
		t.Fatal(err)
	}
	profile, err := unixfs.ParseProfile("unixfs-v1-2025")
	if err != nil {
		t.Fatal(err)
	}
	const size = 20 << 20
	res, err := ingest.Add(t.Context(), fstest.MapFS{"f": {Data: make([]byte, size)}}, "f", dst, &ingest.Options{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	// All leaves are the same; with every repeat, they come one by one.
	for _, query := range []string{"?format=car&car-dups=y", "?format=car"} {
		for range 2 { // verified at first, believed then
			w := &fileWriter{ResponseRecorder: httptest.NewRecorder()}
			srv.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ipfs/"+res.Root.String()+query, nil))
			if w.Code != 200 || w.files < w.bytes-10_000 || w.files < 1<<20 {
				t.Errorf("%s: status %d, %d of %d bytes came as files", query, w.Code, w.files, w.bytes)
			}
		}
	}
}
