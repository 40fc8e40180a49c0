package foreigntest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/gateway"
	carv2 "github.com/ipld/go-car/v2"
	carstore "github.com/ipld/go-car/v2/blockstore"
)

// boxoOver serves an archive with boxo's gateway and go-car's store.
func boxoOver(t *testing.T, file string) string {
	t.Helper()
	bs, err := carstore.OpenReadOnly(file, carv2.UseWholeCIDs(true))
	must(t, err)
	t.Cleanup(func() { bs.Close() })
	backend, err := gateway.NewBlocksBackend(blockservice.New(bs, offline.Exchange(bs)))
	must(t, err)
	return proxy(t, backend).url
}

// TestGetFromBoxo extracts what was added as an archive, has boxo serve it, and gets
// it again from there.
func TestGetFromBoxo(t *testing.T) {
	t.Parallel()
	home, none := t.TempDir(), t.TempDir()
	dir, contents := site(t)
	original := onDisk(t, dir)
	for _, profile := range []string{"v1", "v0", "small packs"} {
		t.Run(profile, func(t *testing.T) {
			root := hashstream(t, home, append([]string{"add", "--quiet", dir}, profiles()[profile]...)...)
			out := t.TempDir()
			archive := filepath.Join(out, "site.car")
			hashstream(t, home, "pack", "extract", root, archive)
			gw := boxoOver(t, archive)

			hashstream(t, none, "get", root, "-o", filepath.Join(out, "site"), "--gateway", gw)
			if diff := cmp.Diff(original, onDisk(t, filepath.Join(out, "site"))); diff != "" {
				t.Errorf("the tree (-original +got):\n%s", diff)
			}
			name := filepath.Join(out, "entry")
			hashstream(t, none, "get", root+"/many/"+manyName(3), "-o", name, "--gateway", gw+"/ipfs/")
			got, err := os.ReadFile(name)
			if want := contents["many/"+manyName(3)]; err != nil || string(got) != string(want) {
				t.Errorf("an entry of a HAMT: %q, %v, want %q", got, err, want)
			}
			again := filepath.Join(out, "again.car")
			hashstream(t, none, "get", root, "--format", "car", "-o", again, "--gateway", gw)
			first, err := os.ReadFile(archive)
			must(t, err)
			second, err := os.ReadFile(again)
			must(t, err)
			if string(first) != string(second) {
				t.Errorf("a CAR of %d bytes extracted and of %d bytes fetched differ", len(first), len(second))
			}
		})
	}
}
