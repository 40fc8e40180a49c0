package node_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/unixfs"
)

// lines collects what a node logs.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a node in this process.
type running struct {
	config       config.Config
	url, admin   string
	log          *lines
	cancel       context.CancelFunc
	done         chan error
	stopOnce     sync.Once
	stopError    error
	http1, http2 *http.Client
}

// start runs a node in a new home, on free ports, without background scrubbing.
func start(t testing.TB, adjust func(*config.Config)) *running {
	t.Helper()
	c := config.Default(t.TempDir())
	c.Gateway.Listen, c.Admin.Listen, c.Scrub.Enabled = "127.0.0.1:0", "127.0.0.1:0", false
	if adjust != nil {
		adjust(&c)
	}
	return startIn(t, c)
}

func startIn(t testing.TB, c config.Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n := &running{config: c, log: &lines{}, cancel: cancel, done: make(chan error, 1)}
	ready := make(chan control.Status, 1)
	go func() {
		n.done <- node.Serve(ctx, c, node.Options{Version: "test", Log: n.log, Ready: func(s control.Status) { ready <- s }})
	}()
	select {
	case s := <-ready:
		n.url, n.admin = s.Addresses["gateway"], s.Addresses["admin"]
	case err := <-n.done:
		cancel()
		t.Fatalf("serve: %v", err)
	}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	n.http1, n.http2 = client(t, false), client(t, true)
	return n
}

func (n *running) stop() error {
	n.stopOnce.Do(func() {
		n.cancel()
		n.stopError = <-n.done
	})
	return n.stopError
}

// client speaks HTTP/1.1, or HTTP/2 without TLS.
func client(t testing.TB, two bool) *http.Client {
	var p http.Protocols
	p.SetHTTP1(!two)
	p.SetUnencryptedHTTP2(two)
	transport := &http.Transport{Protocols: &p, DisableCompression: true, MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// answer is a response that was read to its end.
type answer struct {
	status int
	proto  string
	header http.Header
	body   []byte
	length int64
	err    error
}

func do(t testing.TB, c *http.Client, method, url string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Proto, res.Header, body, res.ContentLength, err}
}

// get asks for a path with HTTP/1.1.
func (n *running) get(t testing.TB, path string, headers ...string) answer {
	t.Helper()
	return do(t, n.http1, http.MethodGet, n.url+path, headers...)
}

// stores opens the stores of the home as a command does.
func stores(t testing.TB, c config.Config) *node.Stores {
	t.Helper()
	s, err := node.Open(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// add adds files to the home of c as the add command does.
func add(t testing.TB, c config.Config, fsys fstest.MapFS, name string, o ingest.Options) cid.Cid {
	t.Helper()
	s := stores(t, c)
	defer s.Close()
	dst, err := s.Destination(index.LevelAll)
	if err != nil {
		t.Fatal(err)
	}
	if o.Profile == (unixfs.Profile{}) {
		if o.Profile, err = unixfs.ParseProfile("unixfs-v1-2025"); err != nil {
			t.Fatal(err)
		}
		o.Profile.ChunkSize = 64 << 10
	}
	res, err := ingest.Add(t.Context(), fsys, name, dst, &o)
	if err != nil {
		t.Fatal(err)
	}
	return res.Root
}

// addFile adds one file of n random bytes.
func addFile(t testing.TB, c config.Config, seed byte, n int, o ingest.Options) cid.Cid {
	t.Helper()
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return add(t, c, fstest.MapFS{"f": {Data: data}}, "f", o)
}

// importCAR imports an archive into the home of c.
func importCAR(t testing.TB, c config.Config, archive []byte) (ingest.Indexed, error) {
	t.Helper()
	s := stores(t, c)
	defer s.Close()
	dst, err := s.Destination(index.LevelAll)
	if err != nil {
		t.Fatal(err)
	}
	_, indexed, err := ingest.ImportCAR(t.Context(), bytes.NewReader(archive), dst.Packs, s.Shelf(s.Packs, index.LevelAll))
	return indexed, err
}

// checkCAR verifies every block of an archive and returns how many there are.
func checkCAR(archive []byte) (int, error) {
	r, err := car.NewReader(bytes.NewReader(archive), nil)
	if err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		data, err := r.Data()
		if err != nil {
			return n, err
		}
		if _, err := block.New(s.CID, data); err != nil {
			return n, err
		}
	}
}

// packFiles lists the packs in the home of c.
func packFiles(t testing.TB, c config.Config) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(c.Home, "packs"), func(path string, e os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".car") {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("packs: %v, %v", files, err)
	}
	return files
}

// eventually waits for something that a node does in the background.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
