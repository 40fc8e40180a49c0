package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/node"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/scrub"
)

// flip changes the byte at off. It leaves no trace in the file's times if silent.
func flip(t *testing.T, name string, off int64, silent bool) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	if silent {
		if err := os.Chtimes(name, time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
}

// command has the node execute a command of the control socket.
func (n *running) command(t *testing.T, name string) []byte {
	t.Helper()
	c, err := control.Dial(t.Context(), n.config.Home)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out bytes.Buffer
	if err := c.Do(t.Context(), name, nil, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (n *running) scrub(t *testing.T) (r scrub.Report) {
	t.Helper()
	if err := json.Unmarshal(n.command(t, node.CommandScrub), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

const size = 24 << 20 // three runs: the last begins long after the headers

// refused reports that an answer is no answer: an error status, or cut.
func refused(a answer, want []byte) error {
	switch {
	case a.err == nil && a.status >= 400:
		return nil
	case a.err == nil:
		return fmt.Errorf("status %d, %d bytes of %d, without an error", a.status, len(a.body), len(want))
	case !bytes.HasPrefix(want, a.body):
		return fmt.Errorf("%d bytes, not those of the content", len(a.body))
	}
	return nil
}

// TestFlippedByte damages a pack under a node, in its first and in its last run,
// before it was ever served and after, with and without a trace.
func TestFlippedByte(t *testing.T) {
	for _, tc := range []struct {
		name           string
		served, silent bool
		off            int64
	}{
		{"first serve, at the beginning", false, false, 100_000},
		{"first serve, at the end", false, false, size - 100_000},
		{"served before, at the beginning", true, false, 100_000},
		{"served before, at the end", true, false, size - 100_000},
		{"served before, without a trace, found by the scrubber", true, true, 100_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := start(t, nil)
			path := "/ipfs/" + addFile(t, n.config, 1, size, ingest.Options{}).String() + "?format=car"
			file := packFiles(t, n.config)[0]
			want, err := os.ReadFile(file) // a pack of one DAG is the answer, but for the header
			if err != nil {
				t.Fatal(err)
			}
			if tc.served {
				if a := n.get(t, path); a.err != nil || !bytes.Equal(a.body, want) {
					t.Fatalf("before: status %d, %d of %d bytes, %v", a.status, len(a.body), len(want), a.err)
				}
			}
			flip(t, file, tc.off, tc.silent)
			if tc.silent {
				if r := n.scrub(t); r.Faults == 0 {
					t.Errorf("the scrubber found nothing: %+v", r)
				}
			}
			for _, c := range []*http.Client{n.http1, n.http2} {
				if err := refused(do(t, c, http.MethodGet, n.url+path), want); err != nil {
					t.Error(err)
				}
			}
			if n.metric(t, "hashstream_verify_failed_blocks_total") == 0 {
				t.Error("no block is counted as corrupt")
			}
			if cut := n.metric(t, `hashstream_stream_failures_total{cause="corrupt"}`); cut == 0 && tc.off > size/2 {
				t.Error("no answer is counted as cut")
			}
			eventually(t, "the quarantine is counted", func() bool { return n.metric(t, "hashstream_quarantined_blocks") == 1 })
			if r := n.scrub(t); r.Faults == 0 || r.Packs != 1 {
				t.Errorf("scrub: %+v", r)
			}
			checkNamed(t, n)
			flip(t, file, tc.off, tc.silent) // back
			if r := n.scrub(t); r.Faults != 0 || r.Released != 1 {
				t.Errorf("scrub after it was restored: %+v", r)
			}
			if a := n.get(t, path); a.err != nil || !bytes.Equal(a.body, want) {
				t.Errorf("after it was restored: status %d, %d of %d bytes, %v", a.status, len(a.body), len(want), a.err)
			}
			eventually(t, "the release is counted", func() bool { return n.metric(t, "hashstream_quarantined_blocks") == 0 })
		})
	}
}

// TestAddedAgain repairs a damaged pack by adding its content once more.
func TestAddedAgain(t *testing.T) {
	n := start(t, nil)
	path := "/ipfs/" + addFile(t, n.config, 1, size, ingest.Options{}).String() + "?format=car"
	file := packFiles(t, n.config)[0]
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, file, size/2, true)
	if err := refused(n.get(t, path), want); err != nil {
		t.Error(err)
	}
	addFile(t, n.config, 1, size, ingest.Options{})
	if a := n.get(t, path); a.err != nil || !bytes.Equal(a.body, want) {
		t.Errorf("added again: status %d, %d of %d bytes, %v", a.status, len(a.body), len(want), a.err)
	}
	if r := n.scrub(t); r.Faults != 0 || r.Released != 0 {
		t.Errorf("scrub: %+v", r)
	}
}

// checkNamed sees that the verification of all packs names the bad block.
func checkNamed(t *testing.T, n *running) {
	t.Helper()
	s := stores(t, n.config)
	defer s.Close()
	named := false
	for f, err := range pack.VerifyAll(t.Context(), s.Packs) {
		if err != nil {
			t.Fatal(err)
		}
		named = named || f.CID.Defined()
	}
	if !named {
		t.Error("the bad block is not named")
	}
}

// TestLostPack deletes or cuts packs under a node.
func TestLostPack(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, files []string){
		"all deleted":     func(t *testing.T, files []string) { remove(t, files...) },
		"one deleted":     func(t *testing.T, files []string) { remove(t, files[len(files)/2]) },
		"all truncated":   func(t *testing.T, files []string) { truncate(t, files...) },
		"first truncated": func(t *testing.T, files []string) { truncate(t, files[0]) },
	} {
		for _, served := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", served before: ", served), func(t *testing.T) {
				n := start(t, nil)
				path := "/ipfs/" + addFile(t, n.config, 1, size, ingest.Options{PackSize: 6 << 20}).String() + "?format=car"
				var want []byte
				if served {
					want = n.get(t, path).body
				}
				harm(t, packFiles(t, n.config))
				for _, c := range []*http.Client{n.http1, n.http2} {
					a := do(t, c, http.MethodGet, n.url+path)
					if !served {
						want = a.body
					}
					if err := refused(a, want); err != nil {
						t.Errorf("%s: %v", a.proto, err)
					}
					if name == "all deleted" && a.status != 404 {
						t.Errorf("%s: status %d, want 404", a.proto, a.status)
					}
				}
			})
		}
	}
}

func remove(t *testing.T, files ...string) {
	t.Helper()
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

func truncate(t *testing.T, files ...string) {
	t.Helper()
	for _, f := range files {
		if err := os.Truncate(f, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeletedWhileSending deletes packs after the headers.
func TestDeletedWhileSending(t *testing.T) {
	n := start(t, nil)
	path := "/ipfs/" + addFile(t, n.config, 1, 4*size, ingest.Options{PackSize: 6 << 20}).String() + "?format=car"
	_, res, _ := n.slow(t, path)
	remove(t, packFiles(t, n.config)...)
	if got, err := io.Copy(io.Discard, res.Body); err == nil || got >= res.ContentLength {
		t.Errorf("%d of %d bytes, %v", got, res.ContentLength, err)
	}
	eventually(t, "the cut is counted", func() bool { return n.metric(t, `hashstream_stream_failures_total{cause="absent"}`) == 1 })
}

// TestClientsLeave sees that nothing goes on for clients that went away.
func TestClientsLeave(t *testing.T) {
	n := start(t, nil)
	path := "/ipfs/" + addFile(t, n.config, 1, large, ingest.Options{}).String() + "?format=car"
	n.get(t, path)
	n.http1.CloseIdleConnections()
	time.Sleep(50 * time.Millisecond)
	before := runtime.NumGoroutine()
	var conns []net.Conn
	for range 20 {
		_, _, conn := n.slow(t, path)
		conns = append(conns, conn)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for range 20 { // streams of HTTP/2
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.http2.Do(req); err != nil {
			t.Fatal(err)
		}
	}
	if got := n.metric(t, "hashstream_http_requests_in_flight"); got != 40 {
		t.Errorf("%v requests are in flight", got)
	}
	for _, c := range conns {
		c.Close()
	}
	cancel()
	eventually(t, "no request is in flight", func() bool { return n.metric(t, "hashstream_http_requests_in_flight") == 0 })
	eventually(t, "the goroutines end", func() bool {
		n.http1.CloseIdleConnections()
		n.http2.CloseIdleConnections()
		return runtime.NumGoroutine() <= before+2
	})
	if strings.Contains(n.log.String(), "panic") {
		t.Error("the log has a panic")
	}
}
