package streamer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/blob/treeblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest/single"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/outboard"
	"github.com/hashstream/hashstream/streamer"
)

// TestBlobDamaged flips a byte, or cuts the object, before and after it was served.
func TestBlobDamaged(t *testing.T) {
	const at = 9 << 20
	for name, damage := range map[string]func(t *testing.T, file string){
		"flipped": func(t *testing.T, file string) { flip(t, file, at) },
		"cut":     func(t *testing.T, file string) { must(t, os.Truncate(file, at)) },
	} {
		for _, proof := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " proof ", proof), func(t *testing.T) {
				h := newHome(t)
				data := random(2, big)
				d := h.addBlob(t, data)
				s, _, _ := h.trees(streamer.Options{})
				sel := rawOf(d)
				if proof {
					sel = proofOf(d, nil)
				}
				good := sent(t, s, sel)
				s, bad, _ := h.trees(streamer.Options{})
				damage(t, filepath.Join(h.dir, index.BlobKey(d)))
				body, err := s.Open(t.Context(), sel)
				must(t, err)
				var got bytes.Buffer
				n, err := body.Send(t.Context(), &got)
				if !errors.Is(err, digest.ErrMismatch) || n != int64(got.Len()) || !bytes.HasPrefix(good, got.Bytes()) {
					t.Errorf("sent %d bytes, a prefix: %v; %v", n, bytes.HasPrefix(good, got.Bytes()), err)
				}
				if got.Len() < at/2 {
					t.Errorf("only %d bytes were sent of %d that are right", got.Len(), at)
				}
				if bad.Load() != 1 {
					t.Errorf("reported %d times", bad.Load())
				}
				if _, err := s.Open(t.Context(), sel); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("opened again: %v", err)
				}
			})
		}
	}
}

func sent(t *testing.T, s *streamer.Streamer, sel block.Selection) []byte {
	t.Helper()
	body, err := s.Open(t.Context(), sel)
	must(t, err)
	var b bytes.Buffer
	_, err = body.Send(t.Context(), &b)
	must(t, err)
	return b.Bytes()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestBlobTreeDamaged has a tree that is wrong: the data is not to blame.
func TestBlobTreeDamaged(t *testing.T) {
	h := newHome(t)
	data := random(3, 3<<20)
	d := h.addBlob(t, data)
	for p, err := range h.keys.Scan(t.Context(), kv.Prefix([]byte("hs"))) {
		must(t, err)
		p.Value[100] ^= 1
		must(t, h.keys.Batch(t.Context(), []kv.Op{kv.Put(p.Key, p.Value)}))
	}
	for _, sel := range []block.Selection{rawOf(d), proofOf(d, nil)} {
		s, bad, _ := h.trees(streamer.Options{})
		body, err := s.Open(t.Context(), sel)
		must(t, err)
		var got bytes.Buffer
		if _, err := body.Send(t.Context(), &got); !errors.Is(err, digest.ErrMismatch) || bad.Load() != 0 {
			t.Errorf("%v, reported %d times", err, bad.Load())
		}
	}
	must(t, outboard.Delete(t.Context(), h.keys, d))
	s, _, _ := h.trees(streamer.Options{})
	if _, err := s.Open(t.Context(), rawOf(d)); err == nil {
		t.Error("a large blob without a tree was opened")
	}
}

// placeBlob indexes a file where it is.
func (h *home) placeBlob(t *testing.T, file string) (digest.Digest, *treeblob.Tree) {
	t.Helper()
	tree, err := treeblob.Open(filepath.Dir(file))
	must(t, err)
	t.Cleanup(func() { tree.Close() })
	info, err := tree.Stat(t.Context(), filepath.Base(file))
	must(t, err)
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	res, err := single.Place(t.Context(), f, index.Location{Path: filepath.Base(file), Version: info.Identity}, func(int64) error { return nil }, h.keys, bao.NewHasher(nil))
	must(t, err)
	return res.Digest, tree
}

// onWrite calls do before the bytes after the first n are written.
type onWrite struct {
	bytes.Buffer
	n  int
	do func()
}

func (w *onWrite) Write(b []byte) (int, error) {
	if w.do != nil && w.Len() >= w.n {
		w.do()
		w.do = nil
	}
	return w.Buffer.Write(b)
}

// TestBlobChanges changes a file while it is sent, verified or not. What was meant is gone, not damaged.
func TestBlobChanges(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, file string){
		"overwritten": func(t *testing.T, file string) { flip(t, file, 15<<20) },
		"cut":         func(t *testing.T, file string) { must(t, os.Truncate(file, 10<<20)) },
		"replaced":    nil,
	} {
		for _, proof := range []bool{false, true} {
			for _, verify := range []streamer.Verify{streamer.VerifyOnce, streamer.VerifyNever} {
				t.Run(fmt.Sprint(name, " proof ", proof, " verify ", verify), func(t *testing.T) {
					h := newHome(t)
					file := filepath.Join(t.TempDir(), "f")
					data := random(4, big)
					must(t, os.WriteFile(file, data, 0o600))
					d, tree := h.placeBlob(t, file)
					s, bad, _ := h.trees(streamer.Options{Files: tree, Verify: verify})
					sel := rawOf(d)
					if proof {
						sel = proofOf(d, nil)
					}
					good := sent(t, s, sel)
					body, err := s.Open(t.Context(), sel)
					must(t, err)
					w := &onWrite{n: 5 << 20}
					w.do = func() {
						if change != nil {
							change(t, file)
							return
						}
						must(t, os.WriteFile(file+"2", random(5, big), 0o600))
						must(t, os.Rename(file+"2", file))
					}
					_, err = body.Send(t.Context(), w)
					if !bytes.HasPrefix(good, w.Bytes()) {
						t.Error("wrong bytes were sent")
					}
					// A file that was replaced stays as it was for who has it open.
					if replaced := change == nil && err == nil; !replaced && !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("sent %d bytes, %v", w.Len(), err)
					}
					if bad.Load() > 0 {
						t.Error("a change was taken for damage")
					}
					if change == nil {
						s, _, _ = h.trees(streamer.Options{Files: tree}) // which has not seen it
					}
					if _, err := s.Open(t.Context(), sel); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("opened again: %v", err)
					}
				})
			}
		}
	}
}

// TestBlobFromTwoCopies goes on with a second copy where the first is damaged, whichever
// that is.
func TestBlobFromTwoCopies(t *testing.T) {
	for _, proof := range []bool{false, true} {
		for _, placed := range []bool{false, true} {
			h := newHome(t)
			file := filepath.Join(t.TempDir(), "f")
			data := random(6, big)
			must(t, os.WriteFile(file, data, 0o600))
			d, tree := h.placeBlob(t, file)
			h.addBlob(t, data)
			s, _, _ := h.trees(streamer.Options{Files: tree})
			sel := rawOf(d)
			if proof {
				sel = proofOf(d, nil)
			}
			good := sent(t, s, sel)
			if !placed {
				file = filepath.Join(h.dir, index.BlobKey(d))
			}
			flipSilently(t, file, 7<<20)
			flipSilently(t, file, 9<<20)
			s, bad, _ := h.trees(streamer.Options{Files: tree})
			for range 2 {
				if got := sent(t, s, sel); !bytes.Equal(got, good) {
					t.Errorf("proof %v: %d bytes of %d, or wrong ones", proof, len(got), len(good))
				}
			}
			if bad.Load() > 1 {
				t.Errorf("reported %d times", bad.Load())
			}
		}
	}
}
