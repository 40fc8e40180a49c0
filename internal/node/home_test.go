package node_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
)

// TestSocket looks at who may use the control socket.
func TestSocket(t *testing.T) {
	n := start(t, nil)
	found := false
	err := filepath.WalkDir(n.config.Home, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.Type()&os.ModeSocket == 0 {
			return err
		}
		found = true
		info, err := e.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil || !found {
		t.Errorf("socket found: %v, %v", found, err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Dial(t.Context(), n.config.Home); !errors.Is(err, control.ErrNoNode) {
		t.Errorf("after the node stopped: %v", err)
	}
}

// TestSecondNode starts a node in the home of another.
func TestSecondNode(t *testing.T) {
	n := start(t, nil)
	root := addFile(t, n.config, 1, 100_000, ingest.Options{}).String()
	if err := serveOnce(t, n.config); !errors.Is(err, control.ErrRunning) {
		t.Errorf("the second node: %v", err)
	}
	if a := n.get(t, "/ipfs/"+root+"?format=car"); a.status != 200 {
		t.Errorf("the first node after that: status %d", a.status)
	}
}

// TestRestart adds without a node, with one, and reads both from the next.
func TestRestart(t *testing.T) {
	c := config.Default(t.TempDir())
	c.Gateway.Listen, c.Admin.Listen, c.Scrub.Enabled = "127.0.0.1:0", "", false
	before := addFile(t, c, 1, 100_000, ingest.Options{}).String()
	n := startIn(t, c)
	absent := n.get(t, "/ipfs/"+before+"?format=car&dag-scope=block").status
	during := addFile(t, c, 2, 100_000, ingest.Options{}).String()
	for _, root := range []string{before, during} {
		if a := n.get(t, "/ipfs/"+root+"?format=car"); absent != 200 || a.status != 200 {
			t.Errorf("%s: status %d", root, a.status)
		}
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = startIn(t, c)
	for _, root := range []string{before, during} {
		if a := n.get(t, "/ipfs/"+root+"?format=car"); a.status != 200 {
			t.Errorf("%s after the restart: status %d", root, a.status)
		}
	}
}

// TestPacksElsewhere serves packs that a static web server has.
func TestPacksElsewhere(t *testing.T) {
	origin := config.Default(t.TempDir())
	root := addFile(t, origin, 1, 300_000, ingest.Options{}).String()
	packs := http.FileServer(http.Dir(filepath.Dir(packFiles(t, origin)[0])))
	var etags http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1"`)
		packs.ServeHTTP(w, r)
	}
	srv := httptest.NewServer(etags)
	defer srv.Close()
	n := start(t, func(c *config.Config) { c.Store.Packs = srv.URL })
	s := stores(t, n.config)
	if _, err := s.Destination(index.LevelAll); !errors.Is(err, os.ErrPermission) {
		t.Errorf("adding to a store that can only be read: %v", err)
	}
	for _, file := range packFiles(t, origin) {
		archive, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := digest.Sum(digest.SHA256, archive)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ingest.IndexPack(t.Context(), d, s.Shelf(s.Packs, index.LevelAll)); err != nil {
			t.Fatal(err)
		}
	}
	a := n.get(t, "/ipfs/"+root+"?format=car")
	blocks, err := checkCAR(a.body)
	if a.status != 200 || a.err != nil || err != nil || blocks != 6 {
		t.Errorf("status %d, %v, %d blocks, %v", a.status, a.err, blocks, err)
	}
	direct := start(t, func(c *config.Config) { c.Home = origin.Home })
	if b := direct.get(t, "/ipfs/"+root+"?format=car"); !bytes.Equal(a.body, b.body) {
		t.Errorf("%d bytes from elsewhere, %d from the file", len(a.body), len(b.body))
	}
	srv.Close()
	if a := n.get(t, "/ipfs/"+root+"?format=car"); a.err == nil && a.status == 200 {
		t.Error("answered without its packs")
	} else if strings.Contains(string(a.body), srv.URL) {
		t.Errorf("the answer tells where packs are: %s", a.body)
	}
}
