package publish

import (
	"errors"
	"testing"

	"github.com/hashstream/hashstream/digest"
)

// A row of a context is read as it is written, or is corrupt.
func FuzzContext(f *testing.F) {
	f.Add([]byte(`{"ad":"baguqeeratze543xe4lbzst2rhr4bkamjcdpubjofmhxvfnr636ky36qjtfhq","set":"AQ==","count":3,"chunks":1,"metadata":"gBI=","version":null}`))
	f.Add([]byte(`{"wanted":true,"count":-1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeContext(data)
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("%q: %v", data, err)
			}
			return
		}
		op, err := s.put([]byte("c"))
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeContext(op.Value)
		if err != nil || again.Ad != s.Ad || again.Count != s.Count || again.Chunks != s.Chunks || string(again.Metadata) != string(s.Metadata) {
			t.Errorf("%+v becomes %+v, %v", s, again, err)
		}
	})
}
