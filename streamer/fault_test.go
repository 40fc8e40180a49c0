package streamer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/streamer"
)

// file adds one file of 100 leaves and returns its root and its only pack.
func (h *home) file(t *testing.T, seed uint64, packSize int64) (cid.Cid, string) {
	t.Helper()
	root := h.add(t, fstest.MapFS{"f": {Data: random(seed, 100_000)}}, "f", index.LevelAll, ingest.Options{PackSize: packSize})
	for info, err := range pack.List(t.Context(), h.packs) {
		if err != nil {
			t.Fatal(err)
		}
		return root, filepath.Join(h.dir, pack.Key(info.Digest))
	}
	t.Fatal("no pack")
	return root, ""
}

func flip(t *testing.T, name string, off int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

func whole(root cid.Cid) block.Selection {
	return block.Selection{Root: root, Scope: block.ScopeAll, Encoding: block.EncodingCAR}
}

func TestFlippedByteIsNeverSent(t *testing.T) {
	for _, served := range []bool{false, true} {
		for name, off := range map[string]int64{"block": 50_000, "frame": 70} {
			t.Run(fmt.Sprint(name, " served before ", served), func(t *testing.T) {
				h := newHome(t)
				root, file := h.file(t, 1, 0)
				want := walked(t, h.memory(t), whole(root))
				var quarantined atomic.Int64
				s := h.streamer(&streamer.Options{Quarantine: func(context.Context, digest.Digest, index.Location, error) { quarantined.Add(1) }})
				if served {
					checkBody(t, "before", s, whole(root), want, true)
				}
				flip(t, file, off)
				body, err := s.Open(t.Context(), whole(root))
				if err != nil {
					t.Fatal(err)
				}
				var got bytes.Buffer
				_, err = body.Send(t.Context(), &got)
				if !bytes.HasPrefix(want, got.Bytes()) {
					t.Error("wrong bytes were sent")
				}
				if name == "block" && !errors.Is(err, digest.ErrMismatch) {
					t.Errorf("send: %v", err)
				}
				if name == "frame" && (err != nil || got.Len() != len(want)) {
					t.Errorf("a frame that the plan knows was not repaired: %d of %d bytes, %v", got.Len(), len(want), err)
				}
				if got, want := quarantined.Load() > 0, name == "block"; got != want {
					t.Errorf("put in quarantine: %v, want %v", got, want)
				}
			})
		}
	}
}

// flipSilently changes a byte and keeps everything by which a change is seen.
func flipSilently(t *testing.T, name string, off int64) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, name, off)
	if err := os.Chtimes(name, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// TestQuarantineOfOthers serves a pack that rotted without a trace after it was
// verified, or that is never verified, and that another process then found bad.
func TestQuarantineOfOthers(t *testing.T) {
	for _, verify := range []streamer.Verify{streamer.VerifyOnce, streamer.VerifyNever} {
		t.Run(string(verify), func(t *testing.T) {
			h := newHome(t)
			root, file := h.file(t, 1, 0)
			m := h.memory(t)
			want := walked(t, m, whole(root))
			s := h.streamer(&streamer.Options{Verify: verify})
			checkBody(t, "before", s, whole(root), want, true)
			flipSilently(t, file, 50_000)
			bad, loc := holder(t, h, 50_000)
			if err := index.Quarantine(t.Context(), h.keys, bad, loc, "found by another"); err != nil {
				t.Fatal(err)
			}
			s.Distrust(index.Location{Pack: bad}) // of another place: the quarantine is read again
			body, err := s.Open(t.Context(), whole(root))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := body.Send(t.Context(), &got); !errors.Is(err, digest.ErrMismatch) || !bytes.HasPrefix(want, got.Bytes()) {
				t.Errorf("sent %d bytes, %v", got.Len(), err)
			}
			if _, err := s.Open(t.Context(), block.Selection{Root: bad.CID(cid.Raw), Encoding: block.EncodingRaw}); err == nil {
				t.Error("a block in quarantine is served")
			}
		})
	}
}

// holder returns the digest and the location of the block whose bytes include
// offset off of the only pack.
func holder(t *testing.T, h *home, off int64) (digest.Digest, index.Location) {
	t.Helper()
	for info, err := range pack.List(t.Context(), h.packs) {
		if err != nil {
			t.Fatal(err)
		}
		for s, err := range pack.Sections(t.Context(), h.packs, info.Digest) {
			if err != nil {
				t.Fatal(err)
			}
			if s.Offset <= off && off < s.Offset+s.Size {
				d, err := digest.FromCID(s.CID)
				if err != nil {
					t.Fatal(err)
				}
				return d, index.Location{Pack: info.Digest}
			}
		}
	}
	t.Fatal("no block there")
	return digest.Digest{}, index.Location{}
}

// TestCorruptThroughMemory is TestFlippedByteIsNeverSent for a store without quick
// ways, with and without another copy.
func TestCorruptThroughMemory(t *testing.T) {
	for _, replica := range []bool{false, true} {
		h := newHome(t)
		root, file := h.file(t, 1, 0)
		if replica {
			h.file(t, 1, 20_000)
		}
		want := walked(t, h.memory(t), whole(root))
		flip(t, file, 50_000)
		s := newPlain(h, nil)
		if replica {
			checkBody(t, "with a replica", s, whole(root), want, true)
			continue
		}
		body, err := s.Open(t.Context(), whole(root))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if n, err := body.Send(t.Context(), &got); !errors.Is(err, digest.ErrMismatch) || n != int64(got.Len()) || !bytes.HasPrefix(want, got.Bytes()) {
			t.Errorf("sent %d bytes, %v", got.Len(), err)
		}
	}
}

func TestAnotherCopyIsUsed(t *testing.T) {
	h := newHome(t)
	root, file := h.file(t, 1, 0)
	h.file(t, 1, 20_000) // the same content in other packs
	want := walked(t, h.memory(t), whole(root))
	s := h.streamer(nil)
	flip(t, file, 50_000)
	checkBody(t, "flipped", s, whole(root), want, true)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	checkBody(t, "removed", s, whole(root), want, false)
}

func TestRemovedPack(t *testing.T) {
	h := newHome(t)
	root, _ := h.file(t, 1, 20_000)
	s := h.streamer(nil)
	want := walked(t, h.memory(t), whole(root))
	body, err := s.Open(t.Context(), whole(root))
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(h.dir, "*.car"))
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	var got bytes.Buffer
	if n, err := body.Send(t.Context(), &got); !errors.Is(err, fs.ErrNotExist) || n >= int64(len(want)) {
		t.Errorf("sent %d of %d bytes, %v", n, len(want), err)
	}
	if _, err := s.Open(t.Context(), whole(root)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
}

func TestTruncatedPack(t *testing.T) {
	h := newHome(t)
	root, file := h.file(t, 1, 0)
	s := h.streamer(nil)
	want := walked(t, h.memory(t), whole(root))
	checkBody(t, "before", s, whole(root), want, true)
	if err := os.Truncate(file, 60_000); err != nil {
		t.Fatal(err)
	}
	body, err := s.Open(t.Context(), whole(root))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if n, err := body.Send(t.Context(), &got); err == nil || n >= int64(len(want)) || !bytes.HasPrefix(want, got.Bytes()) {
		t.Errorf("sent %d of %d bytes, %v", n, len(want), err)
	}
}

func TestVerifyOnce(t *testing.T) {
	h := newHome(t)
	root, file := h.file(t, 1, 0)
	var blocks atomic.Int64
	s := h.streamer(&streamer.Options{Trace: streamer.Trace{Verified: func(n int, _ int64, _ error) { blocks.Add(int64(n)) }}})
	want := walked(t, h.memory(t), whole(root))
	send := func(name string) int64 {
		before := blocks.Load()
		checkBody(t, name, s, whole(root), want, true)
		return blocks.Load() - before
	}
	if n := send("first"); n < 100 {
		t.Errorf("%d blocks were verified at first", n)
	}
	if n := send("second"); n != 0 {
		t.Errorf("%d blocks were verified again", n)
	}
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := send("touched"); n < 100 {
		t.Errorf("%d blocks were verified after the pack changed", n)
	}
}

func TestComplete(t *testing.T) {
	h := newHome(t)
	root, file := h.file(t, 1, 0)
	d, _ := digest.FromCID(root)
	s := h.streamer(nil)
	if ok, err := s.Complete(t.Context(), d); !ok || err != nil {
		t.Errorf("complete: %v, %v", ok, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Complete(t.Context(), d); ok || err != nil {
		t.Errorf("complete without its pack: %v, %v", ok, err)
	}
}

func TestRangeOutside(t *testing.T) {
	h := newHome(t)
	root, _ := h.file(t, 1, 0)
	sel := whole(root)
	sel.Scope, sel.Bytes = block.ScopeEntity, &block.ByteRange{From: 100_000, Open: true}
	if _, err := h.streamer(nil).Open(t.Context(), sel); !errors.Is(err, block.ErrRange) {
		t.Errorf("range outside: %v", err)
	}
}
