package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/node"
)

// serveOnce runs a node that is expected not to start.
func serveOnce(t *testing.T, c config.Config) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := node.Serve(ctx, c, node.Options{Ready: func(control.Status) { cancel() }})
	if err == nil && ctx.Err() == nil {
		t.Fatal("the node ended by itself without an error")
	}
	return err
}

func TestRateLimit(t *testing.T) {
	n := start(t, func(c *config.Config) { c.Gateway.Rate, c.Gateway.Burst = 0.2, 3 })
	var statuses []int
	for range 4 {
		a := n.get(t, "/ipfs/bafkqaaa?format=raw")
		statuses = append(statuses, a.status)
		if a.status == 429 && a.header.Get("Retry-After") != "5" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
	if fmt.Sprint(statuses) != "[200 200 200 429]" {
		t.Errorf("statuses %v", statuses)
	}
}

// slow starts a download that takes nothing after the header until it is told.
func (n *running) slow(t *testing.T, path string) (*bufio.Reader, *http.Response, net.Conn) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	r := bufio.NewReaderSize(conn, 1024)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, res, conn
}

const large = 32 << 20 // more than sockets buffer

func TestConcurrencyLimit(t *testing.T) {
	n := start(t, func(c *config.Config) { c.Gateway.MaxConcurrent = 1 })
	root := addFile(t, n.config, 1, large, ingest.Options{})
	_, res, conn := n.slow(t, "/ipfs/"+root.String()+"?format=car")
	if res.StatusCode != 200 {
		t.Fatalf("status %d", res.StatusCode)
	}
	if a := n.get(t, "/ipfs/bafkqaaa?format=raw"); a.status != 429 || a.header.Get("Retry-After") == "" {
		t.Errorf("the second request: status %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	conn.Close()
	eventually(t, "a place for another request", func() bool { return n.get(t, "/ipfs/bafkqaaa?format=raw").status == 200 })
}

// TestSlowDownload takes longer than any request may take to arrive.
func TestSlowDownload(t *testing.T) {
	n := start(t, func(c *config.Config) {
		c.Gateway.HeaderTimeout = config.Duration(300 * time.Millisecond)
		c.Gateway.StallTimeout = config.Duration(5 * time.Second)
	})
	root := addFile(t, n.config, 1, large, ingest.Options{})
	_, res, _ := n.slow(t, "/ipfs/"+root.String()+"?format=car")
	time.Sleep(time.Second)
	if got, err := io.Copy(io.Discard, res.Body); err != nil || got != res.ContentLength {
		t.Errorf("%d of %d bytes, %v", got, res.ContentLength, err)
	}
}

// TestStalledDownload takes nothing for too long.
func TestStalledDownload(t *testing.T) {
	n := start(t, func(c *config.Config) { c.Gateway.StallTimeout = config.Duration(200 * time.Millisecond) })
	root := addFile(t, n.config, 1, large, ingest.Options{})
	_, res, _ := n.slow(t, "/ipfs/"+root.String()+"?format=car")
	two, err := n.http2.Get(n.url + "/ipfs/" + root.String() + "?format=car")
	if err != nil {
		t.Fatal(err)
	}
	defer two.Body.Close()
	eventually(t, "the stalled answers are counted", func() bool { return n.metric(t, `hashstream_stream_failures_total{cause="stalled"}`) == 2 })
	for _, res := range []*http.Response{res, two} {
		if got, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Errorf("%s: %d of %d bytes without an error", res.Proto, got, res.ContentLength)
		}
	}
}

// TestSilentClient sends half a header.
func TestSilentClient(t *testing.T) {
	n := start(t, func(c *config.Config) { c.Gateway.HeaderTimeout = config.Duration(200 * time.Millisecond) })
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /ipfs/bafkqaaa HTTP/1.1\r\nHost:")
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection is not ended: %v", err)
	}
}

// TestDrain stops a node while it serves: what runs may end, nothing new begins.
func TestDrain(t *testing.T) {
	n := start(t, func(c *config.Config) { c.Gateway.ShutdownTimeout = config.Duration(20 * time.Second) })
	root := addFile(t, n.config, 1, large, ingest.Options{})
	_, res, _ := n.slow(t, "/ipfs/"+root.String()+"?format=car")
	n.cancel()
	address := strings.TrimPrefix(n.url, "http://")
	eventually(t, "new connections are refused", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-n.done:
		t.Fatalf("the node did not wait: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if a := do(t, n.http1, "GET", n.admin+"/readyz"); a.status != 503 {
		t.Errorf("readyz while it stops: status %d", a.status)
	}
	if got, err := io.Copy(io.Discard, res.Body); err != nil || got != res.ContentLength {
		t.Errorf("%d of %d bytes, %v", got, res.ContentLength, err)
	}
	if err := n.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestDrainEnds stops a node whose client takes its time.
func TestDrainEnds(t *testing.T) {
	n := start(t, func(c *config.Config) { c.Gateway.ShutdownTimeout = config.Duration(300 * time.Millisecond) })
	root := addFile(t, n.config, 1, large, ingest.Options{})
	_, res, _ := n.slow(t, "/ipfs/"+root.String()+"?format=car")
	began := time.Now()
	if err := n.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if got, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("%d of %d bytes without an error", got, res.ContentLength)
	}
	if !strings.Contains(n.log.String(), "responses were cut") {
		t.Error("the log does not say that responses were cut")
	}
}
