package origin

import (
	"testing"

	"github.com/hashstream/hashstream/index"
)

// FuzzSource decodes anything without harm.
func FuzzSource(f *testing.F) {
	f.Add(Status{Source: Source{URL: "/data", Level: index.LevelAll}, Files: 3, packs: []string{"x"}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := decodeSource(b)
		if err != nil {
			return
		}
		again, err := decodeSource(st.encode())
		if err != nil || again.Root != st.Root || again.URL != st.URL {
			t.Errorf("%s decodes to %+v, then to %+v, %v", b, st, again, err)
		}
	})
}
