package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/unixfs"
)

// shared is the environment of a cluster on a new bucket and a database.
func shared(t *testing.T, postgres string) (*bucket, []string) {
	t.Helper()
	b := newBucket(t)
	return b, []string{
		"HASHSTREAM_STORE_PACKS=" + b.root("packs"), "HASHSTREAM_STORE_INDEX=" + postgres,
		"HASHSTREAM_PIPELINE_QUEUE=" + natsStream(t), "HASHSTREAM_LOG_LEVEL=debug",
	}
}

// natsStream is a new queue. What a worker that was killed had is delivered again soon.
func natsStream(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("%s/t%d?term=3s", servertest.URL(t, "nats"), rand.Uint64())
}

// load is what was acknowledged so far.
type load struct {
	mu   sync.Mutex
	done map[string][]byte // CAR of each root
	ids  []string
}

func (l *load) acknowledge(root string, car []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done[root] == nil {
		l.done[root], l.ids = car, append(l.ids, root)
	}
}

func (l *load) any(r *rand.Rand) (string, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ids) == 0 {
		return "", nil
	}
	id := l.ids[r.IntN(len(l.ids))]
	return id, l.done[id]
}

// TestKillAnything runs three nodes on one bucket and one PostgreSQL under load. Nodes
// and commands that add are killed, PostgreSQL is restarted and killed. What was
// acknowledged is served by every node, at once and afterwards.
func TestKillAnything(t *testing.T) {
	t.Parallel()
	postgres := servertest.Start(t, "postgres")
	_, env := shared(t, postgres.URL)
	c := newCluster(t, env...)
	nodes := []*node{c.node("a"), c.node("b"), c.node("c")}
	profile, err := unixfs.ParseProfile(unixfs.V1)
	must(t, err)
	profile.ChunkSize = 64 << 10

	l := &load{done: map[string][]byte{}}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for worker := range 3 {
		running.Go(func() { c.adder(l, profile, worker, stop) })
	}
	for worker := range 3 {
		running.Go(func() { getter(t, nodes, l, worker, stop) })
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 6 {
		time.Sleep(700 * time.Millisecond) // of load, between two faults
		n := nodes[r.IntN(len(nodes))]
		n.kill()
		switch i {
		case 2:
			postgres.Stop()
			time.Sleep(300 * time.Millisecond) // without a database
			postgres.Run()
		case 4:
			postgres.Kill()
			postgres.Run()
		}
		n.serve()
	}
	time.Sleep(time.Second)
	close(stop)
	running.Wait()
	if len(l.ids) < 10 {
		t.Fatalf("only %d adds were acknowledged", len(l.ids))
	}
	for i, n := range nodes {
		running.Go(func() {
			for _, root := range l.ids {
				if status, b, err := n.get("/ipfs/" + root + "?format=car"); status != 200 || err != nil || !bytes.Equal(b, l.done[root]) {
					t.Errorf("node %d: %s: status %d, %d bytes of %d, %v", i, root, status, len(b), len(l.done[root]), err)
				}
			}
		})
	}
	running.Wait()
	out := filepath.Join(t.TempDir(), "out")
	c.mustRun("other", "get", l.ids[0], "-o", out, "--gateway", nodes[2].url())
	c.mustRun("b", "pack", "verify")
	for _, name := range []string{"a", "b", "c"} {
		if left := state(t, c.home(name)); len(left) > 0 {
			t.Errorf("node %s keeps %q in its home", name, left)
		}
	}
	t.Logf("%d adds, %d KiB of CARs", len(l.ids), total(l)/1024)
}

func total(l *load) (n int) {
	for _, b := range l.done {
		n += len(b)
	}
	return n
}

// state lists the files of a home that are neither its configuration nor its socket.
func state(t *testing.T, home string) []string {
	t.Helper()
	var found []string
	must(t, filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if path == home && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || slices.Contains([]string{"hashstream.toml", "control.sock", "control.lock"}, d.Name()) {
			return err
		}
		found = append(found, path)
		return nil
	}))
	return found
}

// adder adds trees, one after the other; now and then the command is killed, and given
// again.
func (c *cluster) adder(l *load, profile unixfs.Profile, worker int, stop chan struct{}) {
	r := rand.New(rand.NewPCG(uint64(worker), 77))
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		dir := filepath.Join(c.dir, fmt.Sprintf("content-%d-%d", worker, i))
		files := map[string]string{}
		for j := range 1 + r.IntN(4) {
			files[fmt.Sprintf("d%d/f%d", j%2, j)] = randomText(r, r.IntN(150_000))
		}
		write(c.t, dir, files)
		root, car := added(c.t, profile, dir)
		home := []string{"a", "b", "c", "d"}[r.IntN(4)] // at a node, or beside them
		var err error
		for attempt := range 20 {
			ctx, cancel := context.WithCancel(context.Background())
			if attempt == 0 && r.IntN(4) == 0 {
				time.AfterFunc(time.Duration(r.IntN(150))*time.Millisecond, cancel)
			}
			var out string
			out, err = c.run(ctx, home, "add", "-q", "--chunk-size", "64KiB", dir)
			cancel()
			if err == nil && out != root.String() {
				c.t.Errorf("add gives %s, want %s", out, root)
			}
			if err == nil {
				l.acknowledge(out, car)
				break
			}
		}
		if err != nil {
			c.t.Errorf("an add fails again and again: %v", err)
		}
		os.RemoveAll(dir)
	}
}

// getter asks any node for what was acknowledged. A node may be away, or say that it is
// in trouble; but it never says that the content is not there, and what comes whole is right.
func getter(t *testing.T, nodes []*node, l *load, worker int, stop chan struct{}) {
	r := rand.New(rand.NewPCG(uint64(worker), 78))
	for {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		root, car := l.any(r)
		if root == "" {
			continue
		}
		status, b, err := nodes[r.IntN(len(nodes))].get("/ipfs/" + root + "?format=car")
		switch {
		case err != nil:
		case status == 200 && !bytes.Equal(b, car):
			t.Errorf("%s: a whole response has %d bytes, want %d", root, len(b), len(car))
		case status < 500 && status != 200:
			t.Errorf("%s: status %d: %s", root, status, b)
		}
	}
}

// TestManyWorkers indexes content in place in a bucket by three processes that share a
// queue; one that works is killed. The environment has distinctive secrets, which nobody
// tells.
func TestManyWorkers(t *testing.T) {
	t.Parallel()
	postgres := servertest.Start(t, "postgres")
	b, env := shared(t, postgres.URL)
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(8, 8))
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("d%d/f%d", i%7, i)] = randomText(r, 1000)
	}
	for i := range 3 {
		files[fmt.Sprintf("large/%d", i)] = randomText(r, 9<<20)
	}
	write(t, dir, files)
	var puts sync.WaitGroup
	names := make(chan string)
	for range 8 {
		puts.Go(func() {
			for name := range names {
				b.put(t, "data/"+name, files[name])
			}
		})
	}
	for name := range files {
		names <- name
	}
	close(names)
	puts.Wait()
	c := newCluster(t, append(env, "HASHSTREAM_SOURCES_ROOTS="+b.root("data"))...)
	n := c.node("serves")
	profile, err := unixfs.ParseProfile(unixfs.V1)
	must(t, err)
	root, car := added(t, profile, dir)

	kill := c.start("victim", c.said, "pipeline", "work", "--concurrency", "2")
	c.start("helper", c.said, "pipeline", "work", "--concurrency", "2")
	b.proxy.Reset()
	go func() {
		// In the middle of the work: some objects were read, and not all.
		for len(b.proxy.Requests()) < 40 && t.Context().Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		kill()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := c.run(ctx, "scans", "add", "--in-place", "--json", b.url("data"))
	must(t, err)
	if !strings.Contains(out, root.String()) || !strings.Contains(out, `"new":303,`) {
		t.Errorf("add --in-place gives %s, want %s", out, root)
	}
	status, got, err := n.get("/ipfs/" + root.String() + "?format=car")
	if status != 200 || err != nil || !bytes.Equal(got, car) {
		t.Errorf("the node serves %d, %d of %d bytes, %v", status, len(got), len(car), err)
	}
	b.put(t, "data/large/0", "another")
	if status, got, err := n.get("/ipfs/" + root.String() + "?format=car"); err == nil && status == 200 {
		t.Errorf("with an object replaced, the node serves %d bytes whole", len(got))
	}
	c.mustRun("scans", "scan", "--json")
	if status, _, _ := n.get("/ipfs/" + root.String() + "?format=car"); status != 404 {
		t.Errorf("the old root: status %d", status)
	}
	c.talk(n, b, postgres)
	for _, name := range []string{"serves", "victim", "helper", "scans"} {
		if left := state(t, c.home(name)); len(left) > 0 {
			t.Errorf("%s keeps %q in its home", name, left)
		}
	}
	for _, part := range []string{"serve\x00--listen", "# HELP", "no root of [sources]", `"pid":`, "goroutine ", "SignatureDoesNotMatch", "refuses the user or the password", "Authorization Violation"} {
		if !strings.Contains(c.said.String(), part) {
			t.Errorf("nobody said %q", part)
		}
	}
	for what, secret := range secrets(t, postgres.URL) {
		if i := strings.Index(c.said.String(), secret); i >= 0 {
			t.Errorf("the %s is told: %.300q", what, c.said.String()[max(0, i-200):])
		}
	}
}

// secrets is what must not be told.
func secrets(t *testing.T, postgres string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for what, raw := range map[string]string{
		"password of PostgreSQL": postgres, "secret of the bucket": servertest.URL(t, "s3"), "password of NATS": servertest.URL(t, "nats"),
		"wrong password": "x://u:" + wrong + "@h", "escaped wrong password": "x://u:" + url.QueryEscape(wrong) + "@h",
	} {
		u, err := url.Parse(raw)
		must(t, err)
		found[what], _ = u.User.Password()
	}
	found["wrong password as it is written"] = wrong
	return found
}

// wrong is a password that opens nothing.
const wrong = "wr0ngButSecret"

// talk makes the cluster say as much as it can: about itself, and about what goes wrong.
func (c *cluster) talk(n *node, b *bucket, postgres *servertest.Server) {
	c.t.Helper()
	n.tell()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"status", "--json"}, {"status"}, {"config", "check"}, {"pipeline", "status", "--json"}, {"index", "stats"},
		{"pack", "verify", "--json"}, {"add", "--in-place", "s3://elsewhere/x"}, {"-v", "scan", "s3://elsewhere/x"}, {"dump", "bafkqaaa"},
	} {
		c.run(ctx, n.home, args...)
	}
	// The same with credentials that are refused, each alone.
	replaced := func(raw string) string {
		u, err := url.Parse(raw)
		must(c.t, err)
		u.User = url.UserPassword("somebody", wrong)
		return u.String()
	}
	var talking sync.WaitGroup
	for _, env := range []string{
		"HASHSTREAM_STORE_INDEX=" + replaced(postgres.URL),
		"HASHSTREAM_PIPELINE_QUEUE=" + replaced(natsStream(c.t)),
		"AWS_SECRET_ACCESS_KEY=" + wrong,
		"HASHSTREAM_SOURCES_ROOTS=https://somebody:" + wrong + "@127.0.0.1:1/?token=" + wrong,
		"HASHSTREAM_SOURCES_ROOTS=s3:/somebody:" + wrong + "@bucket",
		"HASHSTREAM_SOURCES_ROOTS=s3//somebody:" + wrong + "@bucket",
		"HASHSTREAM_STORE_INDEX=postgres://somebody:" + wrong + "@127.0.0.1:1/x?password=" + wrong,
		"HASHSTREAM_STORE_PACKS=s3://bucket?region=us-east-1&secret_access_key=" + wrong,
	} {
		talking.Go(func() {
			other := *c
			other.env = append(slices.Clip(c.env), env)
			for _, args := range [][]string{
				{"-v", "add", "--in-place", b.url("data")}, {"add", "-q", b.name}, {"config", "check"}, {"-v", "pipeline", "work"},
				{"add", "--in-place", "https://somebody:" + wrong + "@127.0.0.1:1/file?token=" + wrong},
			} {
				ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
				other.run(ctx, "talks", args...)
				cancel()
			}
		})
	}
	talking.Wait()
	// And with a database that goes away.
	postgres.Stop()
	short, done := context.WithTimeout(ctx, 3*time.Second)
	defer done()
	talking.Go(func() { n.get("/ipfs/bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e?format=raw") })
	talking.Go(func() { c.run(short, "scans", "-v", "scan", "--json") })
	n.tell()
	talking.Wait()
}
