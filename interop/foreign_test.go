package interop

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ipni/index-provider/engine"
)

// TestForeign finds at one node what another one has indexed: always, or if the request
// names a label; and does not say that somebody is not there when the other cannot be asked.
func TestForeign(t *testing.T) {
	other := newNode(t, alone)
	p := newPublisher(t, other.URL["gateway"], engine.HttpPublisher)
	head, mhs := p.put("first", 10)
	other.indexed(head)

	front := newNode(t, finding("indexers", other.URL["gateway"]))
	found(t, front, p, "first", mhs)
	gone(t, front, multihashes(t, "never published", 3))

	aside := newNode(t, finding("cascade", "far="+other.URL["gateway"]))
	for path, want := range map[string]int{"": http.StatusNotFound, "?cascade=near": http.StatusNotFound, "?cascade=far": http.StatusOK} {
		if code, body := aside.get("/multihash/" + mhs[0].B58String() + path); code != want {
			t.Errorf("%q: %d %s", path, code, body)
		}
	}

	res, err := http.Get(front.URL["admin"] + "/metrics")
	must(t, err)
	defer res.Body.Close()
	metrics, err := io.ReadAll(res.Body)
	must(t, err)
	if !strings.Contains(string(metrics), "hashstream_ipni_") {
		t.Error("the metrics tell nothing of the index")
	}

	other.kill()
	if code, body := front.get("/multihash/" + mhs[0].B58String()); code != http.StatusBadGateway && code != http.StatusGatewayTimeout {
		t.Errorf("with the other index gone: %d %s", code, body)
	}
}

// finding is the configuration of an indexer that asks others.
func finding(key, value string) string {
	return strings.Replace(alone, "[find]", fmt.Sprintf("[find]\n%s = [%q]", key, value), 1)
}
