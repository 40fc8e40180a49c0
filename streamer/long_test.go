package streamer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/streamer"
	"github.com/hashstream/hashstream/streamer/sections"
)

// long adds a file that takes several runs, each shorter than a pack, and several
// segments of its plan. It returns the root and the CAR.
func (h *home) long(t *testing.T) (cid.Cid, []byte) {
	t.Helper()
	profile := small(t)
	profile.ChunkSize, profile.Width = 8<<10, 100
	data := random(9, 3*sections.MaxRun+100_000)
	root := h.add(t, fstest.MapFS{"f": {Data: data}}, "f", index.LevelAll, ingest.Options{Profile: profile, PackSize: sections.MaxRun * 3 / 2})
	return root, walked(t, h.memory(t), whole(root))
}

// cut is a writer that ends after n bytes.
type cut struct {
	got    bytes.Buffer
	n      int
	reason error
	stop   func()
}

func (c *cut) Write(b []byte) (int, error) {
	n, _ := c.got.Write(b[:min(len(b), c.n-c.got.Len())])
	if n < len(b) {
		c.stop()
		return n, c.reason
	}
	return n, nil
}

// TestCutAndAgain ends the first answers at several places. What they verified is
// not verified again, the rest is, and the next answer is whole.
func TestCutAndAgain(t *testing.T) {
	h := newHome(t)
	root, want := h.long(t)
	for _, tt := range []struct {
		at     int
		reason error
	}{{1, io.ErrClosedPipe}, {sections.MaxRun - 5, context.Canceled}, {sections.MaxRun + 5, io.ErrClosedPipe}, {len(want) - 1, context.Canceled}} {
		var verified atomic.Int64
		s := h.streamer(&streamer.Options{Trace: streamer.Trace{Verified: func(_ int, n int64, _ error) { verified.Add(n) }}})
		ctx, cancel := context.WithCancel(t.Context())
		out := &cut{n: tt.at, reason: tt.reason, stop: cancel}
		body, err := s.Open(ctx, whole(root))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := body.Send(ctx, out); !errors.Is(err, tt.reason) || n != int64(tt.at) || !bytes.Equal(out.got.Bytes(), want[:tt.at]) {
			t.Errorf("cut at %d: sent %d, got %d, %v", tt.at, n, out.got.Len(), err)
		}
		cancel()
		checkBody(t, "again", s, whole(root), want, true)
		first := verified.Load()
		checkBody(t, "and again", s, whole(root), want, true)
		if n := verified.Load(); n != first {
			t.Errorf("cut at %d: %d bytes were verified for the third answer", tt.at, n-first)
		}
		// At most, the runs that were being verified at the cut are verified twice.
		if first < int64(len(want))*9/10 || first > int64(len(want))+4*sections.MaxRun {
			t.Errorf("cut at %d: %d of %d bytes were verified for two answers", tt.at, first, len(want))
		}
	}
}

// TestDamageBehindWhatIsVerified flips a byte of a pack, keeping no other copy, after
// the packs before it were verified.
func TestDamageBehindWhatIsVerified(t *testing.T) {
	h := newHome(t)
	root, want := h.long(t)
	s := h.streamer(nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, err := s.Open(ctx, whole(root))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := body.Send(ctx, &cut{n: 1000, reason: context.Canceled, stop: cancel}); !errors.Is(err, context.Canceled) {
		t.Fatalf("the first answer: %v", err)
	}
	place := last(t, h, root)
	flip(t, h.dir+"/"+pack.Key(place.Location.Pack), place.Offset)
	if body, err = s.Open(t.Context(), whole(root)); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if n, err := body.Send(t.Context(), &got); !errors.Is(err, digest.ErrMismatch) || n < sections.MaxRun || !bytes.HasPrefix(want, got.Bytes()) {
		t.Errorf("sent %d of %d bytes, %v", n, len(want), err)
	}
}

// last is the place of the last leaf below root.
func last(t *testing.T, h *home, root cid.Cid) (r index.Record) {
	t.Helper()
	d, err := digest.FromCID(root)
	if err != nil {
		t.Fatal(err)
	}
	for p, err := range index.New(h.keys, nil).Plans(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		for one, err := range p.Records(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			r = one
		}
	}
	return r
}
