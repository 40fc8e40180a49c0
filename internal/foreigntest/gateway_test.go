package foreigntest_test

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/prometheus/client_golang/prometheus"
)

// proxies are boxo's own deserializing gateways over the trustless answers of a
// node: one asks for CARs, the other for blocks.
func proxies(t *testing.T, n *running) map[string]deserializer {
	t.Helper()
	fetcher, err := gateway.NewRemoteCarFetcher([]string{n.url}, nil)
	must(t, err)
	cars, err := gateway.NewCarBackend(absence{fetcher}, gateway.WithPrometheusRegistry(prometheus.NewRegistry()))
	must(t, err)
	blocks, err := gateway.NewRemoteBlocksBackend([]string{n.url}, nil)
	must(t, err)
	return map[string]deserializer{"cars": proxy(t, cars), "blocks": proxy(t, blocks)}
}

// absence lets boxo's fetcher of CARs know a 404. Boxo's own gateway answers 200 for
// a path that is not there, so its client takes every other status for a fault: it
// would answer 502 for any directory without an index.html.
type absence struct{ gateway.CarFetcher }

func (a absence) Fetch(ctx context.Context, p path.ImmutablePath, params gateway.CarParams, cb gateway.DataCallback) error {
	err := a.CarFetcher.Fetch(ctx, p, params, cb)
	if err != nil && strings.Contains(err.Error(), "404 Not Found") {
		return gateway.NewErrorStatusCode(ipld.ErrNotFound{Cid: p.RootCid()}, http.StatusNotFound)
	}
	return err
}

// deserializer is a gateway of boxo's.
type deserializer struct {
	url     string
	backend gateway.IPFSBackend
}

func proxy(t *testing.T, backend gateway.IPFSBackend) deserializer {
	t.Helper()
	c := gateway.Config{DeserializedResponses: true, NoDNSLink: true, MetricsRegistry: prometheus.NewRegistry()}
	s := httptest.NewServer(gateway.NewHandler(c, backend))
	t.Cleanup(s.Close)
	return deserializer{s.URL, backend}
}

// tree reads everything below a root. Boxo's TAR would do, but it panics over CARs.
func (d deserializer) tree(t *testing.T, root string) tree {
	t.Helper()
	p, err := path.NewPath("/ipfs/" + root)
	must(t, err)
	immutable, err := path.NewImmutablePath(p)
	must(t, err)
	_, node, err := d.backend.GetAll(t.Context(), immutable)
	must(t, err)
	defer node.Close()
	return inBoxo(t, node)
}

// ask returns an answer that was read to its end.
func ask(t *testing.T, url string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %q: %v", url, headers, err)
	}
	return res.StatusCode, string(body)
}

// want compares an answer without printing megabytes.
func want(t *testing.T, url string, status int, body string, headers ...string) {
	t.Helper()
	gotStatus, got := ask(t, url, headers...)
	if gotStatus != status {
		t.Errorf("%s %q: status %d, want %d: %.200s", url, headers, gotStatus, status, got)
	} else if got != body {
		t.Errorf("%s %q: %d bytes that differ from the %d wanted", url, headers, len(got), len(body))
	}
}

// profiles are the flags of add for trees of all kinds.
func profiles() map[string][]string {
	return map[string][]string{
		"v1":          nil,
		"v0":          {"--profile", "unixfs-v0-2015"},
		"small packs": {"--chunk-size", "100KiB", "--pack-size", "4MiB"},
		"blake3":      {"--hash", "blake3", "--chunk-size", "64KiB"},
		"sha2-512":    {"--hash", "sha2-512", "--chunk-size", "300000"},
	}
}

func TestBoxoDeserializes(t *testing.T) {
	t.Parallel()
	n := start(t, false)
	dir, contents := site(t)
	original := onDisk(t, dir)
	gateways := proxies(t, n)
	for _, profile := range []string{"v1", "v0", "blake3"} {
		root := n.add(t, dir, profiles()[profile]...)
		for kind, gw := range gateways {
			t.Run(profile+" from "+kind, func(t *testing.T) {
				base := gw.url + "/ipfs/" + root
				if diff := cmp.Diff(original, gw.tree(t, root)); diff != "" {
					t.Errorf("the tree (-original +boxo):\n%s", diff)
				}
				checkFiles(t, base, contents)
				checkListings(t, gw.url, root, original)
				want(t, base+"/www/", http.StatusOK, string(contents["www/index.html"]))
				want(t, base+"/link", http.StatusOK, "text.txt")
				if status, _ := ask(t, base+"/none"); status != http.StatusNotFound {
					t.Errorf("a path that is not there: status %d", status)
				}
			})
		}
	}
}

// checkFiles asks for files and their ranges.
func checkFiles(t *testing.T, base string, contents map[string][]byte) {
	t.Helper()
	for name, data := range contents {
		if strings.HasPrefix(name, "many/") && !strings.HasPrefix(name, "many/001") {
			continue
		}
		u := base + "/" + (&url.URL{Path: name}).EscapedPath()
		want(t, u, http.StatusOK, string(data))
		for _, r := range ranges(len(data)) {
			want(t, u, http.StatusPartialContent, string(data[r[0]:r[1]]), "Range", fmt.Sprintf("bytes=%d-%d", r[0], r[1]-1))
		}
		if len(data) > 10 {
			want(t, u, http.StatusPartialContent, string(data[len(data)-10:]), "Range", "bytes=-10")
			want(t, u, http.StatusPartialContent, string(data[len(data)/2:]), "Range", fmt.Sprintf("bytes=%d-", len(data)/2))
		}
	}
}

// ranges are the first and the last byte, and some around where chunks meet.
func ranges(size int) [][2]int {
	var rs [][2]int
	for _, at := range []int{0, 64 << 10, 256 << 10, 1 << 20, 2_000_000, size - 1} {
		if from, to := max(at-3, 0), min(at+5, size); from < to {
			rs = append(rs, [2]int{from, to})
		}
	}
	return rs
}

// checkListings compares the names in boxo's directory pages.
func checkListings(t *testing.T, gw, root string, original tree) {
	t.Helper()
	for _, dir := range []string{".", "nested", "nothing", "many"} {
		prefix := "/ipfs/" + root + "/"
		if dir != "." {
			prefix += dir + "/"
		}
		status, page := ask(t, gw+prefix, "Accept", "text/html")
		if status != http.StatusOK {
			t.Errorf("listing of %s: status %d: %.200s", dir, status, page)
			continue
		}
		found := map[string]bool{}
		for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			escaped, below := strings.CutPrefix(html.UnescapeString(m[1]), prefix)
			name, err := url.PathUnescape(escaped)
			must(t, err)
			if below && name != "" && !strings.Contains(name, "/") && name != ".." {
				found[name] = true
			}
		}
		var got []string
		for name := range found {
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(original.names(dir), got); diff != "" {
			t.Errorf("listing of %s (-original +boxo):\n%s", dir, diff)
		}
	}
}
