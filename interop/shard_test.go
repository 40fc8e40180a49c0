package interop

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipni/go-libipni/find/client"
	"github.com/ipni/index-provider/engine"
	"github.com/multiformats/go-multihash"
)

// member is the configuration of one of several nodes that share an index.
func member(state, name string) string {
	return strings.Replace(alone, "[ipni]", fmt.Sprintf("[ipni]\nstate = %q", state), 1) +
		fmt.Sprintf("[shard]\nlisten = \"127.0.0.1:0\"\nname = %q\n", name)
}

// TestShards spreads an index over three nodes that keep each record twice, kills one
// under load, and sees that no lookup says that somebody is not there who is.
func TestShards(t *testing.T) {
	state := postgres(t)
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, newNode(t, member(state, fmt.Sprint("node", i))))
	}
	p := newPublisher(t, nodes[0].URL["gateway"], engine.HttpPublisher)
	head, first := p.put("first", 2000)
	nodes[1].indexed(head)
	for _, n := range nodes {
		n.eventually("every node finds", func() bool { return finds(t, n, first[0]) })
		found(t, n, p, "first", first)
	}

	nodes[0].eventually("every partition is on two nodes", func() bool { return ready(t, nodes) == 512 })
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i, n := range nodes[:2] {
		load.Go(func() { lookUp(t, n, first, uint64(i), stop) })
	}
	time.Sleep(time.Second) // of load, before
	nodes[2].kill()
	time.Sleep(3 * time.Second) // and after
	close(stop)
	load.Wait()
	if got := nodes[0].measure(`breaker_open\{kind="member",name="node2"\}`); got != "1" && got != "0.5" {
		t.Errorf("the breaker of the node that was killed is at %q", got)
	}

	head, second := p.put("second", 1000)
	nodes[0].indexed(head)
	for _, n := range nodes[:2] {
		found(t, n, p, "first", first)
		found(t, n, p, "second", second)
	}
	nodes[2].start()
	nodes[2].eventually("the node that was killed is back", func() bool { return finds(t, nodes[2], second[0]) })
	found(t, nodes[2], p, "second", second)
	nodes[0].eventually("its breaker is closed", func() bool {
		finds(t, nodes[0], second[rand.IntN(len(second))])
		return nodes[0].measure(`breaker_open\{kind="member",name="node2"\}`) == "0"
	})
}

// ready counts the copies of partitions that are in sync.
func ready(t *testing.T, nodes []*node) (n int) {
	t.Helper()
	for _, member := range nodes {
		var report struct{ Partitions map[string]int }
		must(t, json.Unmarshal([]byte(member.run("ipni", "status", "--json")), &report))
		n += report.Partitions["ready"]
	}
	return n
}

// lookUp looks up some of mhs again and again, all of which are there, and leaves the
// processors to what goes on meanwhile.
func lookUp(t *testing.T, n *node, mhs []multihash.Multihash, seed uint64, stop <-chan struct{}) {
	finder, err := client.New(n.URL["gateway"])
	if err != nil {
		t.Error(err)
		return
	}
	random := rand.New(rand.NewPCG(1, seed))
	hits := 0
	for {
		select {
		case <-stop:
			t.Logf("%d lookups found", hits)
			return
		case <-time.After(2 * time.Millisecond):
		}
		mh := mhs[random.IntN(len(mhs))]
		switch res, err := finder.Find(t.Context(), mh); {
		case err != nil: // nobody said that it is not there
		case len(res.MultihashResults) == 0:
			t.Errorf("nobody is said to have %s", mh.B58String())
			return
		default:
			hits++
		}
	}
}

// finds reports whether a node finds mh, and had no failure.
func finds(t *testing.T, n *node, mh multihash.Multihash) bool {
	t.Helper()
	c, err := client.New(n.URL["gateway"])
	must(t, err)
	res, err := c.Find(t.Context(), mh)
	return err == nil && len(res.MultihashResults) > 0
}
