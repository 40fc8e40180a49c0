package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/hashstream/hashstream/blob"
)

func runDrafter(t *testing.T, open func(t *testing.T) blob.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s blob.Store, d blob.Draft)
	}{
		{"OutOfOrder", testDraftOrder},
		{"Truncate", testDraftTruncate},
		{"Existing", testDraftExisting},
		{"Discard", testDraftDiscard},
		{"BadKey", testDraftBadKey},
		{"Empty", testDraftEmpty},
		{"Race", testDraftRace},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.test(t, s, draft(t, s))
		})
	}
}

func draft(t *testing.T, s blob.Store) blob.Draft {
	t.Helper()
	d, err := s.(blob.Drafter).Draft(t.Context())
	if err != nil {
		t.Fatalf("Draft: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Discard(); err != nil {
			t.Errorf("Discard at the end: %v", err)
		}
	})
	return d
}

func write(t *testing.T, d blob.Draft, b []byte, off int64) {
	t.Helper()
	if n, err := d.WriteAt(b, off); n != len(b) || err != nil {
		t.Fatalf("WriteAt(%d): %d, %v", off, n, err)
	}
}

func testDraftOrder(t *testing.T, s blob.Store, d blob.Draft) {
	b, part := pattern(1<<20), 4<<10
	var wg sync.WaitGroup
	for _, i := range rand.Perm(len(b) / part) {
		wg.Go(func() { write(t, d, b[i*part:(i+1)*part], int64(i*part)) })
	}
	wg.Wait()
	got := make([]byte, 100)
	if n, err := d.ReadAt(got, 5000); n != 100 || err != nil || !bytes.Equal(got, b[5000:5100]) {
		t.Errorf("ReadAt: %d, %v", n, err)
	}
	if n, err := d.ReadAt(got, int64(len(b)-40)); n != 40 || err != io.EOF {
		t.Errorf("ReadAt over the end: %d, %v, want 40, EOF", n, err)
	}
	wantKeys(t, s, "") // invisible until the commit
	wantAbsent(t, s, "dir/k")
	if err := d.Commit(t.Context(), "dir/k"); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	want(t, s, "dir/k", b)
	wantKeys(t, s, "", "dir/k")
	wantEnded(t, d)
	if err := d.Discard(); err != nil {
		t.Errorf("Discard after Commit: %v", err)
	}
	want(t, s, "dir/k", b)
}

func testDraftTruncate(t *testing.T, s blob.Store, d blob.Draft) {
	write(t, d, []byte("0123456789"), 0)
	for _, size := range []int64{4, 8} {
		if err := d.Truncate(size); err != nil {
			t.Fatalf("Truncate(%d): %v", size, err)
		}
	}
	write(t, d, []byte("x"), 12) // holes are zeros
	if err := d.Commit(t.Context(), "k"); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	want(t, s, "k", []byte("0123\x00\x00\x00\x00\x00\x00\x00\x00x"))
}

func testDraftExisting(t *testing.T, s blob.Store, d blob.Draft) {
	put(t, s, "k", []byte("first"))
	write(t, d, []byte("second"), 0)
	if err := d.Commit(t.Context(), "k"); err != nil {
		t.Fatalf("Commit on a key that exists: %v", err)
	}
	want(t, s, "k", []byte("first"))
	wantKeys(t, s, "", "k")
	wantEnded(t, d)
}

func testDraftDiscard(t *testing.T, s blob.Store, d blob.Draft) {
	write(t, d, []byte("gone"), 0)
	for range 2 {
		if err := d.Discard(); err != nil {
			t.Errorf("Discard: %v", err)
		}
	}
	wantEnded(t, d)
	wantAbsent(t, s, "after")
	wantKeys(t, s, "")
}

func wantEnded(t *testing.T, d blob.Draft) {
	t.Helper()
	if _, err := d.WriteAt([]byte("x"), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("WriteAt after the end: %v, want fs.ErrClosed", err)
	}
	if _, err := d.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("ReadAt after the end: %v, want fs.ErrClosed", err)
	}
	if err := d.Truncate(0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Truncate after the end: %v, want fs.ErrClosed", err)
	}
	if err := d.Commit(context.Background(), "after"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Commit after the end: %v, want fs.ErrClosed", err)
	}
}

func testDraftBadKey(t *testing.T, s blob.Store, _ blob.Draft) {
	for _, key := range BadKeys() {
		d := draft(t, s)
		write(t, d, []byte("x"), 0)
		if err := d.Commit(t.Context(), key); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Commit(%q): %v, want fs.ErrInvalid", key, err)
		}
		wantEnded(t, d)
	}
	d := draft(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Commit(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit with a canceled context: %v", err)
	}
	if _, err := s.(blob.Drafter).Draft(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Draft with a canceled context: %v", err)
	}
	wantKeys(t, s, "")
}

func testDraftEmpty(t *testing.T, s blob.Store, d blob.Draft) {
	if _, err := d.WriteAt([]byte("x"), -1); err == nil {
		t.Error("WriteAt of a negative offset succeeded")
	}
	if err := d.Truncate(-1); err == nil {
		t.Error("Truncate to a negative size succeeded")
	}
	if err := d.Commit(t.Context(), "k"); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	want(t, s, "k", nil)
}

// testDraftRace commits many drafts under one key: one of them wins, whole.
func testDraftRace(t *testing.T, s blob.Store, _ blob.Draft) {
	var wg sync.WaitGroup
	for w := range 8 {
		d := draft(t, s)
		write(t, d, uniform(w, 100<<10+w), 0)
		wg.Go(func() {
			if err := d.Commit(t.Context(), "one/key"); err != nil {
				t.Errorf("Commit: %v", err)
			}
		})
	}
	wg.Wait()
	checkUniform(t, s, "one/key")
	wantKeys(t, s, "", "one/key")
}
