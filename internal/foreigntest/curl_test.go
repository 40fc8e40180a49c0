package foreigntest_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// curl runs the program and returns the body, the version and status, such as
// "HTTP/2 200", and the headers with lower-case names.
func curl(t *testing.T, args ...string) (body, status string, header map[string]string) {
	t.Helper()
	dir := t.TempDir()
	out, head := filepath.Join(dir, "body"), filepath.Join(dir, "head")
	args = append([]string{"--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "-o", out, "-D", head}, args...)
	cmd := exec.CommandContext(t.Context(), "curl", args...)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("curl %q: %v: %s", args, err, log.String())
	}
	data, err := os.ReadFile(out)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(head)
	must(t, err)
	header = map[string]string{}
	for line := range strings.Lines(string(lines)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			header[strings.ToLower(name)] = value
		} else if words := strings.Fields(line); len(words) > 1 {
			status = words[0] + " " + words[1]
		}
	}
	return string(data), status, header
}

func TestCurl(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, data := filepath.Join(dir, "file"), random(5, 700_000)
	must(t, os.WriteFile(file, data, 0o600))
	plain, secure := start(t, false), start(t, true)
	leaf := plain.add(t, file) // one raw block
	secure.add(t, file)
	deep := plain.add(t, file, "--chunk-size", "512")
	secure.add(t, file, "--chunk-size", "512")
	kinds := []struct {
		version, base string
		args          []string
	}{
		{"HTTP/1.1", plain.url, []string{"--http1.1"}},
		{"HTTP/1.0", plain.url, []string{"--http1.0"}},
		{"HTTP/2", plain.url, []string{"--http2-prior-knowledge"}},
		{"HTTP/2", secure.url, []string{"--http2", "--cacert", secure.cert}},
		{"HTTP/1.1", secure.url, []string{"--http1.1", "--cacert", secure.cert}},
		{"HTTP/2", secure.url, []string{"--tlsv1.2", "--tls-max", "1.2", "--cacert", secure.cert, "--compressed"}},
	}
	for _, k := range kinds {
		t.Run(fmt.Sprintf("%s %s", k.args[0], k.base[:5]), func(t *testing.T) {
			do := func(path string, args ...string) (string, string, map[string]string) {
				t.Helper()
				return curl(t, append(append(append([]string{}, k.args...), args...), k.base+path)...)
			}
			checkRaw(t, k.version, "/ipfs/"+leaf+"?format=raw", string(data), do)
			checkCAR(t, k.version, "/ipfs/"+deep+"?format=car", do)
		})
	}
}

// request is one run of curl for a path.
type request func(path string, args ...string) (body, status string, header map[string]string)

func checkRaw(t *testing.T, version, path, data string, do request) {
	t.Helper()
	n := len(data)
	body, status, header := do(path)
	if body != data || status != version+" 200" || header["content-length"] != fmt.Sprint(n) {
		t.Errorf("the block: %s, %d bytes, header %v", status, len(body), header)
	}
	etag := header["etag"]
	for spec, want := range map[string]string{
		"0-0": data[:1], "1000-1999": data[1000:2000], "-5": data[n-5:], "699990-": data[699_990:], "699999-900000": data[n-1:],
	} {
		body, status, header := do(path, "--range", spec)
		if body != want || status != version+" 206" || !strings.HasSuffix(header["content-range"], fmt.Sprintf("/%d", n)) {
			t.Errorf("range %s: %s, %d bytes, header %v", spec, status, len(body), header)
		}
	}
	if body, status, header := do(path, "--range", "700000-"); status != version+" 416" || header["content-range"] != "bytes */700000" || strings.Contains(body, data[:100]) {
		t.Errorf("a range behind the end: %s, header %v", status, header)
	}
	if body, status, _ := do(path, "--range", "0-9", "-H", `If-Range: "other"`); status != version+" 200" || body != data {
		t.Errorf("a range of another version: %s, %d bytes", status, len(body))
	}
	if body, status, _ := do(path, "--range", "0-9", "-H", "If-Range: "+etag); status != version+" 206" || body != data[:10] {
		t.Errorf("a range of this version: %s, %d bytes", status, len(body))
	}
	checkSame(t, version, path, etag, do)
}

// checkSame checks what leaves the body out.
func checkSame(t *testing.T, version, path, etag string, do request) {
	t.Helper()
	for _, known := range []string{etag, "*", `"x", ` + etag, "W/" + strings.TrimPrefix(etag, "W/")} {
		if body, status, header := do(path, "-H", "If-None-Match: "+known); status != version+" 304" || body != "" || header["etag"] != etag {
			t.Errorf("%s, If-None-Match: %s: %s, %d bytes, header %v", path, known, status, len(body), header)
		}
	}
	_, _, get := do(path)
	_, status, head := do(path, "--head")
	if status != version+" 200" {
		t.Errorf("%s: HEAD: %s", path, status)
	}
	for _, h := range []map[string]string{get, head} {
		delete(h, "date")
		for name := range h {
			if strings.Contains(name, "request-id") || strings.Contains(name, "trace") {
				delete(h, name)
			}
		}
	}
	if diff := cmp.Diff(get, head); diff != "" {
		t.Errorf("%s: header (-GET +HEAD):\n%s", path, diff)
	}
}

func checkCAR(t *testing.T, version, path string, do request) {
	t.Helper()
	body, status, header := do(path)
	if status != version+" 200" || header["content-length"] != fmt.Sprint(len(body)) {
		t.Errorf("the CAR: %s, %d bytes, header %v", status, len(body), header)
	}
	if _, order := readCAR(t, []byte(body)); len(order) < 1000 {
		t.Errorf("the CAR has %d blocks", len(order))
	}
	if again, status, _ := do(path, "--range", "0-9"); status != version+" 200" || again != body {
		t.Errorf("a range of a CAR: %s, %d bytes", status, len(again))
	}
	byHeader, _, h := do(strings.TrimSuffix(path, "?format=car"), "-H", "Accept: text/html;q=0.5, application/vnd.ipld.car;order=dfs;dups=n")
	if byHeader != body || h["etag"] != header["etag"] {
		t.Errorf("asked for by a header: %d bytes, header %v; by the URL: %v", len(byHeader), h, header)
	}
	checkSame(t, version, path, header["etag"], do)
}
