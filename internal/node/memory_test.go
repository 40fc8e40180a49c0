package node_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/config"
)

// spawn builds the program and runs a node in the home of c as a process of its
// own, which returns once it accepts connections.
func spawn(t *testing.T, c config.Config) (*exec.Cmd, *running) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "hashstream")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/hashstream/hashstream/cmd/hashstream").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.Command(program, "--home", c.Home, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "HASHSTREAM_SCRUB_ENABLED=false", "HASHSTREAM_GATEWAY_STALL_TIMEOUT=1m")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	n := &running{config: c, http1: client(t, false)}
	for lines := bufio.NewScanner(out); n.admin == "" && lines.Scan(); {
		switch name, url, _ := strings.Cut(lines.Text(), " "); name {
		case "gateway":
			n.url = url
		case "admin":
			n.admin = url
		}
	}
	if n.admin == "" {
		t.Fatal("the node does not start")
	}
	return cmd, n
}

// resident is the memory of a process, in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestSlowReaders serves a large CAR to many who take their time, and looks at the
// most memory that the process ever had.
func TestSlowReaders(t *testing.T) {
	c := config.Default(t.TempDir())
	path := "/ipfs/" + addFile(t, c, 1, 256<<20, ingest.Options{}).String() + "?format=car"
	cmd, n := spawn(t, c)
	const readers = 64
	for i := range readers {
		_, res, _ := n.slow(t, path)
		if res.StatusCode != 200 || res.ContentLength < 256<<20 {
			t.Fatalf("reader %d: status %d, %d bytes", i, res.StatusCode, res.ContentLength)
		}
		if _, err := io.CopyN(io.Discard, res.Body, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	if got := n.metric(t, "hashstream_http_requests_in_flight"); got != readers {
		t.Errorf("%v requests in flight, want %d", got, readers)
	}
	if got := resident(t, cmd.Process.Pid); got > 150<<20 {
		t.Errorf("%d MiB resident", got>>20)
	} else {
		t.Logf("%d MiB resident", got>>20)
	}
}
