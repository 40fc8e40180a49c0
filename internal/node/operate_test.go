package node_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
)

// TestOperate lets nobody change the index over HTTP unless a secret is configured, and shown.
func TestOperate(t *testing.T) {
	const peer = "12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt"
	index := func(token string) func(*config.Config) {
		return func(c *config.Config) {
			c.IPNI.Roles, c.IPNI.Values = []string{"ingest", "store", "find"}, "mem:"
			if token != "" {
				c.Admin.IPNITokenFile = "token"
				if err := os.WriteFile(filepath.Join(c.Home, "token"), []byte(token), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	closed := start(t, index(""))
	for _, path := range []string{"/freeze", "/ingest/allow/" + peer} {
		if a := do(t, closed.http1, "PUT", closed.admin+path); a.status != 404 && a.status != 405 {
			t.Errorf("without a secret, %s: %d %s", path, a.status, a.body)
		}
	}
	n := start(t, index("a secret\n"))
	for _, at := range []string{n.admin, n.url} {
		if a := do(t, n.http1, "PUT", at+"/freeze"); a.status/100 != 4 {
			t.Errorf("%s/freeze without the secret: %d", at, a.status)
		}
	}
	if a := do(t, n.http1, "PUT", n.url+"/freeze", "Authorization", "Bearer a secret"); a.status/100 != 4 {
		t.Errorf("on the public listener: %d", a.status)
	}
	if a := do(t, n.http1, "PUT", n.admin+"/freeze", "Authorization", "Bearer a secret"); a.status != 200 {
		t.Errorf("freeze: %d %s", a.status, a.body)
	}
	with := strings.Replace(n.admin, "http://", "http://assigner:a%20secret@", 1)
	if a := do(t, n.http1, "PUT", with+"/ingest/allow/"+peer); a.status != 200 {
		t.Errorf("allow: %d %s", a.status, a.body)
	}
	// What both an assigner and the node's own status ask for is one answer.
	var status struct {
		control.Status
		ingesthttp.NodeStatus
	}
	a := do(t, n.http1, "GET", n.admin+"/status")
	if err := json.Unmarshal(a.body, &status); err != nil || !status.Frozen || status.NodeStatus.ID == "" || status.PID != os.Getpid() || status.Addresses["admin"] != n.admin {
		t.Errorf("%s, %v", a.body, err)
	}
	for _, path := range []string{"/healthz", "/metrics", "/"} {
		if a := do(t, n.http1, "GET", n.admin+path); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := do(t, n.http1, "GET", n.admin+"/metrics"); !strings.Contains(string(a.body), "hashstream_ipni_") {
		t.Error("no metrics of the index")
	}
}
