package interop

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ipni/go-libipni/dhash"
	"github.com/ipni/index-provider/engine"
	"github.com/multiformats/go-multihash"
)

// memberState is a node as its cluster lists it.
type memberState struct {
	ID, URL    string
	Alive      bool
	Draining   bool
	Partitions int
	Publishers int
}

// members lists the nodes of a cluster by name.
func members(t *testing.T, n *node) map[string]memberState {
	t.Helper()
	var list []memberState
	must(t, json.Unmarshal([]byte(n.run("ipni", "members", "--json")), &list))
	all := map[string]memberState{}
	for _, m := range list {
		all[m.ID] = m
	}
	return all
}

// followers returns who follows a publisher.
func followers(t *testing.T, n *node, publisher string) []string {
	t.Helper()
	var list []struct {
		Publisher string
		Followers []string
	}
	must(t, json.Unmarshal([]byte(n.run("ipni", "assign", "--json")), &list))
	for _, p := range list {
		if p.Publisher == publisher {
			return p.Followers
		}
	}
	return nil
}

// fails runs a command that is to fail, with an exit code and a message.
func fails(t *testing.T, n *node, code int, says string, args ...string) {
	t.Helper()
	bin, err := hashstream()
	must(t, err)
	out, err := exec.CommandContext(t.Context(), bin, append([]string{"--home", n.home}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code || !strings.Contains(string(out), says) {
		t.Errorf("hashstream %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, code, out)
	}
}

// TestDrain hands a publisher from node to node, and drains a node under load, over a restart. No lookup says
// meanwhile that somebody is not there who is; then the node leaves, and nothing is missing.
func TestDrain(t *testing.T) {
	state := postgres(t)
	nodes := []*node{newNode(t, member(state, "node0"))}
	nodes[0].eventually("the first has the index", func() bool { return members(t, nodes[0])["node0"].Partitions == 256 })
	fails(t, nodes[0], 1, "no other node is there to take the partitions", "ipni", "drain", "--wait")
	fails(t, nodes[0], 1, "run 'ipni drain' there first", "ipni", "leave", "node0")
	fails(t, nodes[0], 3, `"node1" is no member; the members are node0`, "ipni", "leave", "node1")
	for _, name := range []string{"node1", "node2"} {
		nodes = append(nodes, newNode(t, member(state, name)))
	}
	p := newPublisher(t, nodes[0].URL["gateway"], engine.HttpPublisher)
	head, first := p.put("first", 2000)
	nodes[1].indexed(head)
	nodes[0].eventually("every partition is on two nodes", func() bool { return ready(t, nodes) == 512 })

	fails(t, nodes[0], 3, "the members are node0, node1, node2", "ipni", "assign", p.id.String(), "node3")
	assigned := func(name string) {
		t.Helper()
		nodes[1].run("ipni", "assign", p.id.String(), name)
		nodes[1].eventually(name+" follows the publisher", func() bool { return slices.Equal(followers(t, nodes[1], p.id.String()), []string{name}) })
		nodes[1].run("ipni", "assign", "--free", p.id.String(), name)
	}
	assigned("node0")
	assigned("node2")
	head, second := p.put("second", 500)
	nodes[0].indexed(head)

	stop := make(chan struct{})
	var load sync.WaitGroup
	for i, n := range nodes[:2] {
		load.Go(func() { lookUp(t, n, first, uint64(i), stop) })
	}
	nodes[2].run("ipni", "drain")
	before := members(t, nodes[0])["node2"].URL
	nodes[2].kill()
	nodes[2].start()
	nodes[0].eventually("the node is back", func() bool { return members(t, nodes[0])["node2"].URL != before })
	if m := members(t, nodes[0])["node2"]; !m.Draining {
		t.Errorf("after a restart the node no longer drains: %+v", m)
	}
	nodes[2].run("ipni", "drain", "--wait")
	if m := members(t, nodes[0])["node2"]; m.Partitions != 0 || m.Publishers != 0 {
		t.Errorf("after draining: %+v", m)
	}
	if got := followers(t, nodes[0], p.id.String()); len(got) != 1 || got[0] == "node2" {
		t.Errorf("the publisher is followed by %q", got)
	}
	nodes[2].run("ipni", "drain", "--leave")
	nodes[2].kill()
	close(stop)
	load.Wait()

	if all := members(t, nodes[0]); len(all) != 2 {
		t.Errorf("members that stay: %+v", all)
	}
	head, third := p.put("third", 500)
	nodes[1].indexed(head)
	for _, n := range nodes[:2] {
		found(t, n, p, "first", first)
		found(t, n, p, "second", second)
		found(t, n, p, "third", third)
	}

	// Metadata lies where the hash of its context says, which need not be where its records are.
	contexts := []string{"first", "second", "third"}
	for i := range 8 {
		contexts = append(contexts, fmt.Sprint("small ", i))
		head, _ = p.put(contexts[len(contexts)-1], 1)
		nodes[1].indexed(head)
	}
	metadata := func(want int) {
		t.Helper()
		for _, n := range nodes[:2] {
			for _, id := range contexts {
				key := sha256.Sum256(dhash.CreateValueKey(p.id, []byte(id)))
				if code, body := n.get("/metadata/" + multihash.Multihash(key[:]).B58String()); code != want {
					t.Errorf("metadata of %q: %d, want %d: %s", id, code, want, body)
				}
			}
		}
	}
	metadata(200)
	nodes[0].run("ipni", "remove", p.id.String())
	metadata(404)
}
