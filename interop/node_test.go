package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildDir is where the binary goes, removed when the tests end.
var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		panic(err)
	}
	buildDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// hashstream builds the command once.
var hashstream = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "hashstream")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/hashstream")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node is a hashstream process that may be killed and started again in its home.
type node struct {
	t     *testing.T
	home  string
	ports map[string]string // listeners whose ports stay the same over restarts

	cmd *exec.Cmd
	URL map[string]string // by the name of the listener
	log *transcript
}

// transcript is what a process wrote.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.b.Write(p)
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.b.String()
}

// newNode starts a node with the text of a configuration file.
func newNode(t *testing.T, config string) *node {
	t.Helper()
	n := &node{t: t, home: t.TempDir(), log: &transcript{}}
	must(t, os.WriteFile(filepath.Join(n.home, "hashstream.toml"), []byte(config), 0o600))
	n.start()
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("node said:\n%s", tail(n.log.String(), 8<<10))
		}
	})
	return n
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// start runs serve and waits until its listeners accept connections. A node that
// is started again listens where it did before.
func (n *node) start() {
	n.t.Helper()
	bin, err := hashstream()
	must(n.t, err)
	address := func(name string) string {
		if _, addr, ok := strings.Cut(n.URL[name], "//"); ok {
			return addr
		}
		return "127.0.0.1:0"
	}
	n.cmd = exec.Command(bin, "--home", n.home, "serve", "--listen", address("gateway"), "--admin", address("admin"))
	n.cmd.Stderr = n.log
	out, in := io.Pipe()
	n.cmd.Stdout = io.MultiWriter(in, n.log)
	must(n.t, n.cmd.Start())
	go func() {
		n.cmd.Wait()
		in.Close()
	}()
	late := time.AfterFunc(time.Minute, func() { in.CloseWithError(fmt.Errorf("late")) })
	defer late.Stop()
	found := map[string]string{}
	for lines := bufio.NewScanner(out); found["admin"] == "" && lines.Scan(); {
		if name, url, ok := strings.Cut(lines.Text(), " "); ok {
			found[name] = url
		}
	}
	if found["gateway"] == "" || found["admin"] == "" {
		n.t.Fatalf("the node did not start:\n%s", tail(n.log.String(), 4<<10))
	}
	n.URL = found
	go io.Copy(io.Discard, out)
}

// kill ends the process without a chance to tidy up.
func (n *node) kill() {
	n.cmd.Process.Signal(syscall.SIGKILL)
	for n.cmd.ProcessState == nil { // the goroutine of start waits for it
		time.Sleep(time.Millisecond)
	}
}

// run runs a command in the node's home and returns what it printed.
func (n *node) run(args ...string) string {
	n.t.Helper()
	bin, err := hashstream()
	must(n.t, err)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(n.t.Context(), bin, append([]string{"--home", n.home}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("hashstream %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// get fetches a path of the public listener.
func (n *node) get(path string) (int, []byte) {
	n.t.Helper()
	res, err := http.Get(n.URL["gateway"] + path)
	must(n.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(n.t, err)
	return res.StatusCode, body
}

// adStatus is what the node tells of an advertisement.
type adStatus struct {
	State  string
	Reason string
}

// adStatus asks for the state of an advertisement.
func (n *node) adStatus(c fmt.Stringer) adStatus {
	n.t.Helper()
	code, body := n.get("/sync/status/ad/" + c.String())
	if code != http.StatusOK && code != http.StatusNotFound {
		n.t.Fatalf("status of %s: %d %s", c, code, body)
	}
	var s adStatus
	if err := json.Unmarshal(body, &s); err != nil {
		n.t.Fatalf("status of %s: %v in %s", c, err, body)
	}
	return s
}

// eventually waits until f is true.
func (n *node) eventually(what string, f func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("did not happen: %s", what)
		}
	}
}

// indexed waits until an advertisement is indexed.
func (n *node) indexed(c fmt.Stringer) {
	n.t.Helper()
	var s adStatus
	defer func() {
		if s.State != "indexed" {
			n.t.Logf("advertisement %s: %+v", c, s)
		}
	}()
	n.eventually("an advertisement is indexed", func() bool { s = n.adStatus(c); return s.State == "indexed" })
}

// measure returns the value of a series of the provider index, given as a regular expression; "" if there is none.
func (n *node) measure(series string) string {
	n.t.Helper()
	res, err := http.Get(n.URL["admin"] + "/metrics")
	must(n.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(n.t, err)
	if m := regexp.MustCompile(`(?m)^hashstream_ipni_` + series + ` (\S+)$`).FindSubmatch(body); m != nil {
		return string(m[1])
	}
	return ""
}
