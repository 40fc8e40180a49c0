package pack_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/pack"
)

func TestWriterMisuse(t *testing.T) {
	ctx := t.Context()
	b := newBlock(t, cid.Raw, []byte("0123456789"))
	tests := map[string]func(w *pack.Writer) error{
		"fill twice": func(w *pack.Writer) error {
			p, _ := w.Reserve(ctx, 36, 10)
			w.Reserve(ctx, 36, 10)
			w.Fill(ctx, p, b)
			return w.Fill(ctx, p, b)
		},
		"fill with another size": func(w *pack.Writer) error {
			p, _ := w.Reserve(ctx, 36, 11)
			return w.Fill(ctx, p, b)
		},
		"fill with another CID length": func(w *pack.Writer) error {
			p, _ := w.Reserve(ctx, 34, 10)
			return w.Fill(ctx, p, b)
		},
		"unreserve what is not last": func(w *pack.Writer) error {
			p, _ := w.Reserve(ctx, 36, 10)
			w.Append(ctx, b.CID, b.Data)
			return w.Unreserve(ctx, p)
		},
		"finish with a hole": func(w *pack.Writer) error {
			w.Reserve(ctx, 36, 10)
			return w.Finish(ctx, b.CID)
		},
		"finish with a root of another length": func(w *pack.Writer) error {
			w.Append(ctx, b.CID, b.Data)
			return w.Finish(ctx, cid.NewCidV0(b.CID.Hash()))
		},
		"block over 2 MiB": func(w *pack.Writer) error {
			_, err := w.Append(ctx, b.CID, make([]byte, block.MaxSize+1))
			return err
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			w := pack.NewWriter(store.Draft, nil)
			if err := f(w); err == nil {
				t.Error("no error")
			}
			if _, err := w.Append(ctx, b.CID, b.Data); err == nil {
				t.Error("the error does not stick")
			}
			w.Discard()
			if n := count(t, store); n != 0 {
				t.Errorf("%d packs are stored", n)
			}
		})
	}
}

func count(t testing.TB, store blob.Lister) (n int) {
	t.Helper()
	for _, err := range store.List(context.Background(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// fullDisk is a draft that fails after a number of bytes.
type fullDisk struct {
	blob.Draft
	left *int64
}

func (f fullDisk) WriteAt(b []byte, off int64) (int, error) {
	if *f.left -= int64(len(b)); *f.left < 0 {
		return 0, syscall.ENOSPC
	}
	return f.Draft.WriteAt(b, off)
}

func TestFullDisk(t *testing.T) {
	store, rec := newStore(t), newRecorder(t)
	left := int64(3 << 20)
	drafts := func(ctx context.Context) (blob.Draft, error) {
		d, err := store.Draft(ctx)
		return fullDisk{d, &left}, err
	}
	w := pack.NewWriter(drafts, &pack.Options{Size: 1 << 20, Committed: rec.add})
	x := rand.New(rand.NewPCG(3, 4))
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		b := newBlock(t, cid.Raw, random(x, 64<<10))
		_, err = w.Append(t.Context(), b.CID, b.Data)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got error %v, want ENOSPC", err)
	}
	w.Discard()
	stored := 0
	for f, err := range pack.VerifyAll(t.Context(), store) {
		t.Errorf("VerifyAll: %v %v", f, err)
	}
	for range pack.List(t.Context(), store) {
		stored++
	}
	if stored < len(rec.packs) {
		t.Errorf("%d packs stored, %d reported", stored, len(rec.packs))
	}
}

func TestDiscardAndCancel(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		store := newStore(t)
		ctx, cancel := context.WithCancel(t.Context())
		w := pack.NewWriter(store.Draft, &pack.Options{Size: 1 << 20})
		x := rand.New(rand.NewPCG(5, 6))
		for range 40 {
			b := newBlock(t, cid.Raw, random(x, 64<<10))
			if _, err := w.Append(ctx, b.CID, b.Data); err != nil {
				t.Fatal(err)
			}
		}
		if cancelled {
			cancel()
			b := newBlock(t, cid.Raw, nil)
			if err := w.Finish(ctx, b.CID); !errors.Is(err, context.Canceled) {
				t.Errorf("Finish: %v, want context.Canceled", err)
			}
		}
		w.Discard()
		cancel()
		for f, err := range pack.VerifyAll(t.Context(), store) {
			t.Errorf("VerifyAll: %v %v", f, err)
		}
	}
}

func TestCommittedFails(t *testing.T) {
	store := newStore(t)
	boom := errors.New("boom")
	w := pack.NewWriter(store.Draft, &pack.Options{Committed: func(context.Context, int, digest.Digest, int64) error { return boom }})
	b := newBlock(t, cid.Raw, []byte("x"))
	if _, err := w.Append(t.Context(), b.CID, b.Data); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(t.Context(), b.CID); !errors.Is(err, boom) {
		t.Errorf("Finish: %v, want boom", err)
	}
	w.Discard()
}
