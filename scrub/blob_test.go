package scrub_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest/single"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/scrub"
)

// TestBlob finds a blob that is damaged, beside packs, and finds it mended.
func TestBlob(t *testing.T) {
	s := newShelf(t, 2)
	data := bytes.Repeat([]byte("blob"), 1<<20)
	res, err := single.Add(t.Context(), bytes.NewReader(data), s.Store, s.keys, bao.NewHasher(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "notes.blob", bytes.NewReader(data)); err != nil { // not ours
		t.Fatal(err)
	}
	var told, expected int64
	scrubber := scrub.New(s, s.keys, &scrub.Options{Trace: scrub.Trace{
		Start: func(n int64) { expected = n },
		Fault: func(f pack.Fault, loc index.Location) {
			if loc != index.StoredBlob(res.Digest) || !errors.Is(f.Err, digest.ErrMismatch) {
				t.Errorf("%s at %s", f, loc)
			}
			told++
		},
	}})
	pass := func(faults, released int64, findable bool) {
		t.Helper()
		told = 0
		r, err := scrubber.Pass(t.Context())
		if err != nil || r.Packs != 2 || r.Blobs != 1 || r.Faults != faults || r.Released != released || told != faults || r.Bytes != expected {
			t.Errorf("%+v of %d bytes, %v", r, expected, err)
		}
		found := false
		for range s.index.Blobs(t.Context(), res.Digest) {
			found = true
		}
		if found != findable {
			t.Errorf("found: %v", found)
		}
	}
	pass(0, 0, true)
	for _, wrong := range [][]byte{append([]byte("x"), data[1:]...), data[:100]} {
		if err := s.Put(t.Context(), index.BlobKey(res.Digest), bytes.NewReader(wrong)); err != nil {
			t.Fatal(err)
		}
		pass(1, 0, false)
		if err := s.Put(t.Context(), index.BlobKey(res.Digest), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		pass(0, 1, true)
	}
}
