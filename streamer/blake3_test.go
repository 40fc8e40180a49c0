package streamer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/zeebo/blake3"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest/single"
	"github.com/hashstream/hashstream/outboard"
	"github.com/hashstream/hashstream/streamer"
)

// addBlob stores data as one blob.
func (h *home) addBlob(t *testing.T, data []byte) digest.Digest {
	t.Helper()
	res, err := single.Add(t.Context(), bytes.NewReader(data), h.packs, h.keys, bao.NewHasher(nil))
	if err != nil {
		t.Fatal(err)
	}
	sum := blake3.Sum256(data)
	if !bytes.Equal(res.Digest.Value(), sum[:]) || res.Size != int64(len(data)) {
		t.Fatalf("added as %s of %d bytes", res.Digest, res.Size)
	}
	return res.Digest
}

// trees is a streamer of blobs, whose faults and hashed bytes are counted.
func (h *home) trees(o streamer.Options) (s *streamer.Streamer, bad, hashed *atomic.Int64) {
	bad, hashed = new(atomic.Int64), new(atomic.Int64)
	o.Trees = outboard.New(h.keys, nil)
	o.Quarantine = func(ctx context.Context, d digest.Digest, loc index.Location, cause error) {
		bad.Add(1)
		if err := index.Quarantine(ctx, h.keys, d, loc, cause.Error()); err != nil {
			panic(err)
		}
	}
	o.Trace.Verified = func(_ int, n int64, _ error) { hashed.Add(n) }
	return h.streamer(&o), bad, hashed
}

func rawOf(d digest.Digest) block.Selection {
	return block.Selection{Root: d.CID(cid.Raw), Scope: block.ScopeBlock, Encoding: block.EncodingRaw}
}

func proofOf(d digest.Digest, r *block.ByteRange) block.Selection {
	return block.Selection{Root: d.CID(cid.Raw), Scope: block.ScopeBlock, Encoding: block.EncodingBao, Bytes: r}
}

func sendRange(ctx context.Context, s *streamer.Streamer, d digest.Digest, w io.Writer, off, n int64) error {
	body, err := s.Open(ctx, rawOf(d))
	if err != nil {
		return err
	}
	sent, err := body.(block.Ranger).SendRange(ctx, w, off, n)
	if err == nil && sent != n {
		err = fmt.Errorf("sent %d bytes of %d", sent, n)
	}
	return err
}

func checkRange(t *testing.T, s *streamer.Streamer, d digest.Digest, data []byte, off, n int64) {
	t.Helper()
	var got bytes.Buffer
	got.Grow(int(n))
	if err := sendRange(t.Context(), s, d, &got, off, n); err != nil || !bytes.Equal(got.Bytes(), data[off:off+n]) {
		t.Errorf("%d bytes from %d: %d bytes, %v", n, off, got.Len(), err)
	}
}

const big = 20<<20 + 12345

// TestBlob serves blobs of all kinds of sizes, whole, in parts and with proofs.
func TestBlob(t *testing.T) {
	for _, verify := range []streamer.Verify{streamer.VerifyOnce, streamer.VerifyAlways, streamer.VerifyNever} {
		t.Run(string(verify), func(t *testing.T) {
			h := newHome(t)
			s, bad, _ := h.trees(streamer.Options{Verify: verify})
			for _, size := range []int{0, 1, 1024, bao.GroupSize, bao.GroupSize + 1, block.MaxSize, block.MaxSize + 1, big} {
				data := random(uint64(size), size)
				d := h.addBlob(t, data)
				n := int64(size)
				if body, err := s.Open(t.Context(), rawOf(d)); err != nil {
					t.Fatal(err)
				} else if got, exact := body.Size(); got != n || !exact {
					t.Errorf("size %d, %v", got, exact)
				}
				for _, r := range [][2]int64{{n / 3, n / 2}, {n / 7, min(1, n)}, {0, n}, {n / 2, n - n/2}, {0, n}} {
					checkRange(t, s, d, data, r[0], r[1])
				}
				for _, r := range []*block.ByteRange{nil, {From: 0, Open: true}, {From: n / 3, To: n / 2}, {From: -5, Open: true}, {From: n + 7, To: n + 9}, {From: -n - 9, To: -n - 5}} {
					checkProof(t, s, d, data, r)
				}
			}
			if bad.Load() > 0 {
				t.Error("something good was reported")
			}
		})
	}
}

// checkProof takes a proof apart as a client does.
func checkProof(t *testing.T, s *streamer.Streamer, d digest.Digest, data []byte, r *block.ByteRange) {
	t.Helper()
	size := int64(len(data))
	off, n := int64(0), size
	if r != nil {
		from, to, err := r.Resolve(size)
		if off, n = from, to-from; err != nil && r.From >= 0 {
			off, n = r.From, r.To-r.From+1
		} else if err != nil {
			off, n = 0, 0
		}
	}
	body, err := s.Open(t.Context(), proofOf(d, r))
	if err != nil {
		t.Fatalf("proof of %v of %d bytes: %v", r, size, err)
	}
	var wire, got bytes.Buffer
	wire.Grow(int(n + n/8))
	got.Grow(int(n))
	sent, err := body.Send(t.Context(), &wire)
	if want, exact := body.Size(); err != nil || sent != want || !exact || int64(wire.Len()) != want {
		t.Errorf("proof of %v: sent %d, promised %d, %v", r, sent, want, err)
	}
	in, err := bao.NewReader(&wire, d, off, n)
	if err == nil {
		_, err = io.Copy(&got, in)
	}
	want := data[min(off, size):min(off+n, size)]
	if err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("proof of %v of %d bytes: %d bytes of %d, %v", r, size, got.Len(), len(want), err)
	}
	if proved, ok := in.Size(); off >= size && (!ok || proved != size) {
		t.Errorf("proof beyond the end: size %d, %v", proved, ok)
	}
}

// TestBlobIsHashedOnce counts hashed bytes: what was verified in part is completed.
func TestBlobIsHashedOnce(t *testing.T) {
	h := newHome(t)
	data := random(1, big)
	d := h.addBlob(t, data)
	settle(t, h, d)
	s, _, hashed := h.trees(streamer.Options{})
	checkRange(t, s, d, data, 9<<20, 1<<20)
	if n := hashed.Load(); n != 1<<20 {
		t.Errorf("%d bytes were hashed for the first part", n)
	}
	checkRange(t, s, d, data, 0, 16<<20)
	if n := hashed.Load(); n > 17<<20 {
		t.Errorf("%d bytes were hashed of 16 MiB", n)
	}
	hashed.Store(0)
	checkRange(t, s, d, data, 3, 16<<20-3)
	if n := hashed.Load(); n != 0 {
		t.Errorf("%d bytes were hashed again", n)
	}
	checkRange(t, s, d, data, 0, big)
	if n := hashed.Load(); n != big-16<<20 {
		t.Errorf("%d bytes were hashed of the rest", n)
	}
	// A receiver that leaves takes nothing of what was verified before.
	s, bad, hashed := h.trees(streamer.Options{})
	if err := sendRange(t.Context(), s, d, &leaving{left: 10 << 20}, 0, big); !errors.Is(err, errLeft) || bad.Load() > 0 {
		t.Errorf("the receiver left: %v, reported %d times", err, bad.Load())
	}
	hashed.Store(0)
	checkRange(t, s, d, data, 0, 8<<20)
	if n := hashed.Load(); n != 0 {
		t.Errorf("%d bytes were hashed again after the receiver left", n)
	}
}

// errLeft is no fault of what is sent, whatever else it matches.
var errLeft = fmt.Errorf("left: %w", digest.ErrMismatch)

// leaving is a receiver that goes after so many bytes.
type leaving struct{ left int }

func (l *leaving) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, errLeft
	}
	return len(b), nil
}

// settle makes an object old enough for its store to vouch for its version.
func settle(t *testing.T, h *home, d digest.Digest) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(h.dir, index.BlobKey(d)), old, old); err != nil {
		t.Fatal(err)
	}
}

// TestBlobForms asks for forms that there are not.
func TestBlobForms(t *testing.T) {
	h := newHome(t)
	d := h.addBlob(t, random(7, 3<<20))
	s, _, _ := h.trees(streamer.Options{})
	if _, err := s.Open(t.Context(), whole(d.CID(cid.Raw))); !errors.Is(err, block.ErrEncoding) {
		t.Errorf("as a CAR: %v", err)
	}
	sum, err := digest.Sum(digest.SHA256, []byte("x"))
	must(t, err)
	for _, c := range []cid.Cid{sum.CID(cid.Raw), d.CID(cid.DagProtobuf)} {
		if _, err := s.Open(t.Context(), block.Selection{Root: c, Encoding: block.EncodingBao}); !errors.Is(err, block.ErrEncoding) {
			t.Errorf("proof of %s: %v", c, err)
		}
	}
	absent, err := digest.Sum(digest.BLAKE3, []byte("absent"))
	must(t, err)
	if _, err := s.Open(t.Context(), proofOf(absent, nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := h.streamer(nil).Open(t.Context(), rawOf(d)); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("without trees: %v", err)
	}
	// A block that was stored without a tree has a proof too.
	data := random(8, 100_000)
	small := h.addBlob(t, data)
	must(t, outboard.Delete(t.Context(), h.keys, small))
	checkProof(t, s, small, data, &block.ByteRange{From: 50_000, To: 60_000})
}
