package origin_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/unixfs"
)

// TestSameAsAddLarge compares directories that are sharded, and files of some leaves of
// the default profile, in place and added.
func TestSameAsAddLarge(t *testing.T) {
	for name, c := range map[string]struct {
		profile func(p *unixfs.Profile)
		files   int
		size    int
	}{
		"sharded":               {func(p *unixfs.Profile) { p.ChunkSize, p.HAMTThreshold = 1000, 2000 }, 700, 30},
		"a few sharded":         {func(p *unixfs.Profile) { p.ChunkSize, p.HAMTThreshold = 1000, 10 }, 3, 3000},
		"default, 3 MB":         {func(*unixfs.Profile) {}, 5, 3_000_000},
		"default, a whole leaf": {func(*unixfs.Profile) {}, 3, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, added := newSite(t, index.LevelMultiple), newSite(t, index.LevelMultiple)
			profile, err := unixfs.ParseProfile(unixfs.V1)
			must(t, err)
			c.profile(&profile)
			s.src.Profile = profile
			r := rand.New(rand.NewPCG(1, uint64(c.files)))
			for i := range c.files {
				b := make([]byte, c.size+i%2)
				fillRandom(r, b)
				s.write(t, map[string]string{fmt.Sprintf("d%d/file number %d", i%3/2, i): string(b)})
			}
			got := s.scan(t)
			root, err := os.OpenRoot(s.dir)
			must(t, err)
			defer root.Close()
			want, err := ingest.Add(t.Context(), root.FS(), ".", added.destination(index.LevelMultiple), &ingest.Options{Profile: profile})
			must(t, err)
			if got.Result.Root != want.Root || got.Result.DAGSize != want.DAGSize || got.Result.Blocks != want.Blocks {
				t.Fatalf("in place %+v\nadded    %+v", got, want)
			}
			there, err := s.car(t.Context(), got.Result.Root, true)
			must(t, err)
			packed, err := added.car(t.Context(), want.Root, true)
			must(t, err)
			if !bytes.Equal(there, packed) {
				t.Errorf("CARs of %d and %d bytes differ", len(there), len(packed))
			}
			// One file changes in a directory of many.
			s.write(t, map[string]string{"d0/file number 0": "changed"})
			got = s.scan(t)
			want, err = ingest.Add(t.Context(), root.FS(), ".", added.destination(index.LevelMultiple), &ingest.Options{Profile: profile})
			must(t, err)
			if got.Result.Root != want.Root || got.Changed != 1 {
				t.Errorf("after a change in place %+v\nadded    %+v", got, want)
			}
			if _, err := s.car(t.Context(), got.Result.Root, false); err != nil {
				t.Error(err)
			}
		})
	}
}
