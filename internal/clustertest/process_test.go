package clustertest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary builds hashstream once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "hashstream")
	out, err := exec.Command("go", "build", "-o", path, "github.com/hashstream/hashstream/cmd/hashstream").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// cluster is hashstream processes with the same environment, each with a home of its own.
type cluster struct {
	t    *testing.T
	bin  string
	dir  string
	env  []string
	said *transcript
}

// transcript is everything that all processes wrote and answered.
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

func newCluster(t *testing.T, env ...string) *cluster {
	t.Helper()
	bin, err := binary()
	must(t, err)
	return &cluster{t: t, bin: bin, dir: t.TempDir(), env: env, said: &transcript{}}
}

func (c *cluster) home(name string) string { return filepath.Join(c.dir, name) }

// command is hashstream in a home, that is killed when ctx ends.
func (c *cluster) command(ctx context.Context, home string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.bin, append([]string{"--home", c.home(home)}, args...)...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stderr = c.said
	return cmd
}

// run runs a command to its end and returns what it printed.
func (c *cluster) run(ctx context.Context, home string, args ...string) (string, error) {
	cmd := c.command(ctx, home, args...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	c.said.Write(out.Bytes())
	c.said.Write(log.Bytes())
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, log.String())
	}
	return strings.TrimSpace(out.String()), err
}

// mustRun is run of what must not fail.
func (c *cluster) mustRun(home string, args ...string) string {
	c.t.Helper()
	out, err := c.run(c.t.Context(), home, args...)
	must(c.t, err)
	return out
}

// start starts a process. kill, which is called at the end of the test if not before, ends it without a chance to
// tidy up.
func (c *cluster) start(home string, stdout io.Writer, args ...string) (kill func()) {
	c.t.Helper()
	cmd := c.command(context.Background(), home, args...)
	cmd.Stdout = stdout
	must(c.t, cmd.Start())
	kill = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
	})
	c.t.Cleanup(kill)
	return kill
}

// node is a node that runs, and may be killed and started again.
type node struct {
	c    *cluster
	home string

	mu             sync.Mutex
	end            func()
	gateway, admin string
}

func (c *cluster) node(home string) *node {
	c.t.Helper()
	n := &node{c: c, home: home}
	n.serve()
	return n
}

// serve starts the process and waits until it is ready.
func (n *node) serve() {
	n.c.t.Helper()
	out, in := io.Pipe()
	end := n.c.start(n.home, io.MultiWriter(in, n.c.said), "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	lines := bufio.NewScanner(out)
	found := map[string]string{}
	late := time.AfterFunc(time.Minute, func() { in.CloseWithError(context.DeadlineExceeded) })
	defer late.Stop()
	for len(found) < 2 && lines.Scan() {
		if name, url, ok := strings.Cut(lines.Text(), " "); ok {
			found[name] = url
		}
	}
	if len(found) < 2 {
		n.c.t.Fatalf("node %s did not start: %v\n%s", n.home, lines.Err(), n.c.said.String())
	}
	go io.Copy(io.Discard, out)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.end, n.gateway, n.admin = end, found["gateway"], found["admin"]
}

func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.end()
}

func (n *node) url() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gateway
}

// get returns the status and the body of a response that came whole.
func (n *node) get(path string) (int, []byte, error) {
	res, err := http.Get(n.url() + path)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

// tell reads what the node tells of itself into the transcript.
func (n *node) tell() {
	n.c.t.Helper()
	client := http.Client{Timeout: 3 * time.Second} // it may wait for a database that is gone
	for _, path := range []string{"/status", "/metrics", "/readyz", "/healthz", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/"} {
		res, err := client.Get(n.admin + path)
		if err != nil {
			fmt.Fprintln(n.c.said, err)
			continue
		}
		io.Copy(n.c.said, res.Body)
		res.Body.Close()
	}
}
