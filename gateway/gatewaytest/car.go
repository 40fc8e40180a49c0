package gatewaytest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	typeRaw = "application/vnd.ipld.raw"
	typeCAR = "application/vnd.ipld.car"
)

type carCase struct {
	name  string
	path  string
	query string
	want  []string
}

// carCases are those of TestTrustlessCarPathing, …DagScopeBlock, …DagScopeEntity,
// …DagScopeAll and …EntityBytes: exactly these blocks, in that order.
func carCases() []carCase {
	return []carCase{
		{"path through directory", two + "/subdir/ascii.txt", "", list(two, twoSubdir, ascii)},
		{"path through hamt", hamt + "/685.txt", "", list(hamt, hamtOf685, multi, chunks())},
		{"path through dag-cbor", document + "/files/single", "", list(document, hello)},
		{"block, directory", two + "/subdir", "dag-scope=block", list(two, twoSubdir)},
		{"block, file", two + "/subdir/ascii.txt", "dag-scope=block", list(two, twoSubdir, ascii)},
		{"block, file in hamt", hamt + "/1.txt", "dag-scope=block", list(hamt, hamtOf1, multi)},
		{"entity, directory", two, "dag-scope=entity", list(two)},
		{"entity, hamt", hamt, "dag-scope=entity", list(hamt, shards())},
		{"entity, file", mixed + "/subdir/ascii.txt", "dag-scope=entity", list(mixed, mixedSubdir, ascii)},
		{"entity, chunked file", mixed + "/subdir/multiblock.txt", "dag-scope=entity", list(mixed, mixedSubdir, multi, chunks())},
		{"entity, dag-cbor", cborDir + "/document", "dag-scope=entity", list(cborDir, document)},
		{"all, directory", mixed + "/subdir", "dag-scope=all", list(mixed, mixedSubdir, ascii, hello, multi, chunks())},
		{"all, chunked file", mixed + "/subdir/multiblock.txt", "dag-scope=all", list(mixed, mixedSubdir, multi, chunks())},
		{"bytes before a hole", holed, "dag-scope=entity&entity-bytes=0:1000", list(holed, holedFirst)},
		{"bytes after a hole", holed, "dag-scope=entity&entity-bytes=2200:*", list(holed, holedLast)},
		{"bytes of all", mixed + "/subdir/multiblock.txt", "dag-scope=entity&entity-bytes=0:*", list(mixed, mixedSubdir, multi, chunks())},
		{"bytes of hamt", hamt, "dag-scope=entity&entity-bytes=0:*", list(hamt, shards())},
		{"bytes to the end", multi, "dag-scope=entity&entity-bytes=512:*", list(multi, chunks()[2:])},
		{"bytes in the middle", multi, "dag-scope=entity&entity-bytes=512:1023", list(multi, chunks()[2:4])},
		{"bytes to before the end", multi, "dag-scope=entity&entity-bytes=512:-256", list(multi, chunks()[2:4])},
		{"bytes of the end", multi, "dag-scope=entity&entity-bytes=-5:*", list(multi, chunks()[3:])},
		{"bytes from before the file", multi, "dag-scope=entity&entity-bytes=-9999:*", list(multi, chunks())},
		{"bytes from before the file to its end", multi, "dag-scope=entity&entity-bytes=-9999:-3", list(multi, chunks()[:4])},
		{"one byte", multi, "dag-scope=entity&entity-bytes=0:0", list(multi, chunks()[:1])},
		// Beyond the suite:
		{"bytes imply entity", multi, "entity-bytes=0:0", list(multi, chunks()[:1])},
		{"bytes beyond the end are clamped", multi, "entity-bytes=1025:99999", list(multi, chunks()[4:])},
		{"bytes of one leaf", ascii, "entity-bytes=0:0", list(ascii)},
		{"duplicates once by default", duplicates, "", list(duplicates, ascii, hello, multi, chunks())},
		{"trailing slash", two + "/subdir/", "dag-scope=block", list(two, twoSubdir)},
		{"empty segments", two + "//subdir//ascii.txt", "dag-scope=block", list(two, twoSubdir, ascii)},
		{"escaped path", two + "/sub%64ir/ascii%2Etxt", "dag-scope=block", list(two, twoSubdir, ascii)},
	}
}

func (s *server) testCAR(t *testing.T) {
	for _, c := range carCases() {
		t.Run(c.name, func(t *testing.T) {
			root, _, _ := strings.Cut(c.path, "/")
			for _, a := range []answer{
				s.get(t, "/ipfs/"+c.path+with(c.query, "format", "car")),
				s.get(t, "/ipfs/"+c.path+with(c.query), "Accept", typeCAR),
			} {
				a.expect(t,
					"Content-Type", typeCAR+"; version=1; order=dfs; dups=n",
					"Content-Disposition", `attachment; filename="`+root+`.car"`,
					"X-Content-Type-Options", "nosniff",
					"Accept-Ranges", "none",
					"Cache-Control", "public, max-age=29030400, immutable",
					"X-Ipfs-Path", "/ipfs/"+c.path,
					"Access-Control-Allow-Origin", "*",
				)
				if a.header.Get("Etag") == "" {
					t.Error("no Etag")
				}
				if diff := cmp.Diff(c.want, blocks(t, a.body)); diff != "" {
					t.Errorf("blocks (-want +got):\n%s", diff)
				}
			}
		})
	}
	a := s.do(t, http.MethodGet, "/ipfs/"+two+"/subdir/i-do-not-exist?format=car")
	if a.status != http.StatusNotFound {
		t.Errorf("absent path: status %d, want 404", a.status)
	}
}

// testOptional is TestTrustlessCarOrderAndDuplicates.
func (s *server) testOptional(t *testing.T) {
	once := list(duplicates, ascii, hello, multi, chunks())
	twice := list(duplicates, ascii, ascii, hello, multi, chunks())
	for _, c := range []struct {
		name, target, accept, dups string
		want                       []string
	}{
		{"dups=y", duplicates, typeCAR + "; version=1; order=dfs; dups=y", "y", twice},
		{"dups=n", duplicates, typeCAR + "; version=1; order=dfs; dups=n", "n", once},
		{"order=unk", duplicates, typeCAR + "; version=1; order=unk", "n", once},
		{"identity", inlineText, typeCAR + "; dups=y", "y", nil},
		{"parameters of Accept beside format", duplicates + "?format=car", typeCAR + "; version=1; order=dfs; dups=y", "y", twice},
		{"car-order beats Accept", duplicates + "?format=car&car-order=dfs", typeCAR + "; order=unk", "n", once},
		{"car-dups beats Accept", duplicates + "?format=car&car-dups=y", typeCAR + "; dups=n", "y", twice},
		{"car-version beats Accept", duplicates + "?format=car&car-version=1", typeCAR + "; version=2", "n", once},
		{"second choice", duplicates, typeCAR + ";order=foo, " + typeCAR + ";order=dfs;dups=y;q=0.5", "y", twice},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.get(t, "/ipfs/"+c.target, "Accept", c.accept)
			a.expect(t, "Content-Type", typeCAR+"; version=1; order=dfs; dups="+c.dups)
			if diff := cmp.Diff(c.want, blocks(t, a.body)); diff != "" {
				t.Errorf("blocks (-want +got):\n%s", diff)
			}
			if where := a.header.Get("Content-Location"); !strings.HasSuffix(where, "?format=car&car-version=1&car-order=dfs&car-dups="+c.dups) {
				t.Errorf("Content-Location is %q", where)
			} else if same := s.get(t, where); cmp.Diff(a.body, same.body) != "" {
				t.Errorf("%s gives another answer", where)
			}
		})
	}
}

// testCut asks for a DAG that has a hole: its CAR must not look whole.
func (s *server) testCut(t *testing.T) {
	for _, query := range []string{"?format=car", "?format=car&dag-scope=entity", "?format=car&entity-bytes=1000:2000", "?format=car&car-dups=y"} {
		a := s.do(t, http.MethodGet, "/ipfs/"+holed+query)
		if a.err == nil && a.status == http.StatusOK {
			t.Errorf("%s: the answer looks whole: %d bytes", query, len(a.body))
		}
		if a.err == nil && a.status != http.StatusNotFound {
			t.Errorf("%s: status %d, want a cut answer or 404", query, a.status)
		}
	}
	if a := s.do(t, http.MethodGet, "/ipfs/"+holedHole+"?format=raw"); a.status != http.StatusNotFound {
		t.Errorf("the missing block: status %d, want 404", a.status)
	}
	s.get(t, "/ipfs/"+holed+"?format=car&dag-scope=block") // the client still works
}
