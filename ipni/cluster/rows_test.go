package cluster

import (
	"bytes"
	"errors"
	"testing"

	"github.com/hashstream/hashstream/digest"
)

// What is accepted is written again as the same bytes.
func FuzzRows(f *testing.F) {
	for _, seed := range []string{
		`{"epoch":3,"replicas":[{"id":"a","state":"ready","since":1},{"id":"b","state":"filling","since":2}],"leaving":[{"id":"c","since":3}]}`,
		`{"id":"a","url":"http://a:1","roles":["store"],"weight":7,"frozen":true,"incarnation":1,"beat":5}`,
		`{"ttl":1,"view":2,"write":3}`,
		`{"holder":"a","term":3}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, row := range []check{new(Row), new(Member), new(Timing), new(lease)} {
			err := decode([]byte("key"), b, row)
			if err == nil && !bytes.Equal(encode(row), b) {
				t.Fatalf("%q becomes %q", b, encode(row))
			}
			if err != nil && !errors.Is(err, digest.ErrMismatch) {
				t.Fatal(err)
			}
		}
	})
}
