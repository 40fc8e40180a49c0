package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipni/go-libipni/find/model"
	"github.com/ipni/index-provider/engine"
)

// TestKilled kills the indexer again and again while it follows a chain, and finds all of
// it in the end, without having fetched the chain anew.
func TestKilled(t *testing.T) {
	n := newNode(t, alone)
	p := newPublisher(t, n.URL["gateway"], engine.HttpPublisher)
	_, first := p.put("0", 2000)
	for i := range 8 {
		head, mhs := p.put(fmt.Sprint(i+1), 2000)
		n.kill()
		n.start()
		if i%3 == 2 {
			n.indexed(head)
			found(t, n, p, fmt.Sprint(i+1), mhs)
		}
	}
	_, last := p.put("last", 500)
	p.settled(n)
	found(t, n, p, "0", first)
	found(t, n, p, "last", last)
	for i := range 8 {
		context := fmt.Sprint(i + 1)
		found(t, n, p, context, multihashes(t, p.id.String()+context, 2000))
	}
}

// TestMirror rebuilds an index from copies of advertisements, with the publisher gone.
func TestMirror(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mirror")
	mirror := "file:" + dir
	n := newNode(t, alone+fmt.Sprintf("[mirror]\nstore = %q\n", mirror))
	p := newPublisher(t, n.URL["gateway"], engine.HttpPublisher)
	_, first := p.put("first", 700)
	_, second := p.put("second", 300)
	removed := p.remove("first")
	p.settled(n)
	n.eventually("the mirror has the head", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, p.id.String()+".head"))
		return string(text) == removed.String()
	})
	must(t, p.Shutdown())
	must(t, p.host.Close())
	n.kill()

	fresh := newNode(t, alone+fmt.Sprintf("[mirror]\nstore = %q\nread = \"only\"\n", mirror))
	if said := fresh.run("ipni", "import", "--mirror", "--json"); said != `{"publishers":1}` {
		t.Fatalf("import of the mirror: %s", said)
	}
	p.settled(fresh)
	found(t, fresh, p, "second", second)
	gone(t, fresh, first)
}

// provider asks for what is known of a publisher.
func providerInfo(t *testing.T, n *node, p *publisher) (info model.ProviderInfo) {
	t.Helper()
	code, body := n.get("/providers/" + p.id.String())
	if code != http.StatusOK {
		t.Fatalf("provider: %d %s", code, body)
	}
	must(t, json.Unmarshal(body, &info))
	return info
}
