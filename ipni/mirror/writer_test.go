package mirror_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/fsblob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/mirror"
)

// killDir is set where this program is a writer that is to be killed.
const killDir = "HASHSTREAM_TEST_MIRROR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		halfway(dir)
	}
	os.Exit(m.Run())
}

// halfway writes half of an archive and waits to be killed.
func halfway(dir string) {
	t := &testing.T{}
	s, err := fsblob.Open(dir, nil)
	if err != nil {
		panic(err)
	}
	p := newPublisher(1)
	id := p.put(t, "a", 10_000, 10_000)
	w, err := mirror.OpenWriter(context.Background(), s, nil)
	if err != nil {
		panic(err)
	}
	r, err := w.Begin(context.Background(), id, p.Blocks()[id])
	if err == nil {
		first := p.owner[id][0]
		err = r.Add(context.Background(), first.CID, first.Data)
	}
	if err != nil {
		panic(err)
	}
	fmt.Println("halfway")
	select {}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "halfway\n" {
		t.Fatalf("%q, %v", line, err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	s, err := fsblob.Open(dir, nil)
	must(t, err)
	defer s.Close()
	for info, err := range s.List(t.Context(), "") {
		t.Errorf("half a file: %s, %v", info.Key, err)
	}
	p := newPublisher(1)
	p.put(t, "a", 10_000, 10_000)
	p.record(t, openWriter(t, s, nil))
	if got := only(t, openMirror(t, s, nil)); got.mhs != 20_000 {
		t.Errorf("%d multihashes after all was written again", got.mhs)
	}
}

var errFull = errors.New("no space left")

// failing is a store whose writes fail after some of them.
type failing struct {
	*memblob.Store
	left int
}

func (f *failing) spend() error {
	if f.left--; f.left < 0 {
		return errFull
	}
	return nil
}

func (f *failing) Put(ctx context.Context, key string, r io.Reader) error {
	if err := f.spend(); err != nil {
		return err
	}
	return f.Store.Put(ctx, key, r)
}

func (f *failing) Draft(ctx context.Context) (blob.Draft, error) {
	if err := f.spend(); err != nil {
		return nil, err
	}
	d, err := f.Store.Draft(ctx)
	return failingDraft{d, f}, err
}

type failingDraft struct {
	blob.Draft
	store *failing
}

func (d failingDraft) WriteAt(b []byte, off int64) (int, error) {
	if err := d.store.spend(); err != nil {
		return 0, err
	}
	return d.Draft.WriteAt(b, off)
}

func (d failingDraft) Commit(ctx context.Context, key string) error {
	if err := d.store.spend(); err != nil {
		return err
	}
	return d.Draft.Commit(ctx, key)
}

// TestFaults lets each write fail in turn. The archive is there whole or not at all, and no head
// names one that is not there.
func TestFaults(t *testing.T) {
	for _, o := range []*mirror.Options{nil, {Plain: true}, {Overwrite: true}} {
		p := newPublisher(1)
		id := p.put(t, "a", 10, 10)
		for left := 0; ; left++ {
			s := &failing{memblob.New(), left}
			w := openWriter(t, s, o)
			err := w.Store(t.Context(), id, p.Blocks()[id], blocks(p.owner[id]))
			if err == nil {
				err = w.SetHead(t.Context(), p.ID, id)
			}
			m := openMirror(t, s.Store, nil)
			if has, _ := openWriter(t, s.Store, nil).Has(t.Context(), id); has {
				a, err := m.Archive(t.Context(), id)
				must(t, err)
				for _, b := range p.owner[id] {
					_, err := a.Block(t.Context(), b.CID)
					must(t, err)
				}
				must(t, a.Close())
			} else if _, err := m.Head(t.Context(), p.ID); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%d writes: a head without its archive: %v", left, err)
			}
			if err == nil {
				if left < 3 {
					t.Errorf("no write failed")
				}
				break
			}
			if !errors.Is(err, errFull) || !strings.Contains(err.Error(), "mirror: ") {
				t.Errorf("%d writes: %v", left, err)
			}
		}
	}
}

func TestHeadComesLast(t *testing.T) {
	p := newPublisher(1)
	a, b, c := p.put(t, "a", 1), p.put(t, "b", 2), p.put(t, "c", 3)
	s := memblob.New()
	w := openWriter(t, s, nil)
	store := func(ids ...cid.Cid) {
		for _, id := range ids {
			must(t, w.Store(t.Context(), id, p.Blocks()[id], blocks(p.owner[id])))
		}
	}
	refused := func(id cid.Cid, names cid.Cid) {
		t.Helper()
		if err := w.SetHead(t.Context(), p.ID, id); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "archive of "+names.String()) {
			t.Errorf("head above what is missing: %v", err)
		}
	}
	store(c, b)
	refused(c, a)
	if _, err := w.Head(t.Context(), p.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("head: %v", err)
	}
	must(t, openWriter(t, s, &mirror.Options{Partial: true}).SetHead(t.Context(), p.ID, b))
	must(t, w.SetHead(t.Context(), p.ID, c)) // down to the former head
	must(t, w.Remove(t.Context(), c))
	must(t, w.RemoveHead(t.Context(), p.ID))
	store(a)
	refused(c, c)
	store(c)
	must(t, w.SetHead(t.Context(), p.ID, c))
	if got := only(t, w.Mirror); got.mhs != 6 {
		t.Errorf("%d multihashes", got.mhs)
	}
}

func TestRecord(t *testing.T) {
	p := newPublisher(1)
	id := p.put(t, "a", 10, 5)
	first, second := p.owner[id][0], p.owner[id][1]
	s := memblob.New()
	w := openWriter(t, s, nil)
	_, err := w.Begin(t.Context(), id, first.Data)
	mismatch(t, err, id.String())

	r, err := w.Begin(t.Context(), id, p.Blocks()[id])
	must(t, err)
	if err := r.Add(t.Context(), second.CID, second.Data); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("entries in the wrong order: %v", err)
	}
	mismatch(t, r.Add(t.Context(), first.CID, second.Data), first.CID.String())
	must(t, r.Add(t.Context(), first.CID, first.Data))
	must(t, r.Discard())
	if err := r.Commit(t.Context()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("commit after discard: %v", err)
	}

	boom := errors.New("the publisher went away")
	broken := func(yield func(block.Block, error) bool) { _ = yield(first, nil) && yield(block.Block{}, boom) }
	if err := w.Store(t.Context(), id, p.Blocks()[id], iter.Seq2[block.Block, error](broken)); !errors.Is(err, boom) {
		t.Errorf("broken entries: %v", err)
	}
	if has, err := w.Has(t.Context(), id); has || err != nil {
		t.Errorf("half an archive: %v, %v", has, err)
	}

	must(t, w.Store(t.Context(), id, p.Blocks()[id], blocks(p.owner[id])))
	before := read(t, s, mirror.Name(id, true))
	must(t, w.Store(t.Context(), id, p.Blocks()[id], blocks(nil))) // it is there
	if _, err := w.Begin(t.Context(), id, p.Blocks()[id]); !errors.Is(err, fs.ErrExist) {
		t.Errorf("begin of what is there: %v", err)
	}
	if !bytes.Equal(before, read(t, s, mirror.Name(id, true))) {
		t.Error("it was written again")
	}
	over := openWriter(t, s, &mirror.Options{Overwrite: true, Plain: true})
	must(t, over.Store(t.Context(), id, p.Blocks()[id], blocks(p.owner[id][:1])))
	if _, err := s.Stat(t.Context(), mirror.Name(id, true)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the compressed one is still there: %v", err)
	}
	a, err := w.Archive(t.Context(), id)
	must(t, err)
	defer a.Close()
	if _, err := a.Block(t.Context(), second.CID); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a block that was left out: %v", err)
	}
	small := openWriter(t, memblob.New(), &mirror.Options{MaxSize: 700})
	if err := small.Store(t.Context(), id, p.Blocks()[id], blocks(p.owner[id])); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("an archive over the limit: %v", err)
	}
}
