package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/fsblob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/unixfs"
)

// lying is a file system with one file that is not what its directory says.
type lying struct {
	fstest.MapFS
	name string
	open func(fs.File) (fs.File, error)
}

func (l lying) Open(name string) (fs.File, error) {
	f, err := l.MapFS.Open(name)
	if err != nil || name != l.name {
		return f, err
	}
	return l.open(f)
}

// other is a file whose bytes are others than its Stat says.
type other struct {
	fs.File
	r io.Reader
}

func (o other) Read(b []byte) (int, error) { return o.r.Read(b) }

func TestChanged(t *testing.T) {
	boom := errors.New("boom")
	tests := map[string]struct {
		open func(fs.File) (fs.File, error)
		want error
	}{
		"shrinks": {func(f fs.File) (fs.File, error) { return other{f, strings.NewReader("short")}, nil }, ingest.ErrChanged},
		"grows":   {func(f fs.File) (fs.File, error) { return other{f, bytes.NewReader(make([]byte, 5000))}, nil }, ingest.ErrChanged},
		"is gone": {func(fs.File) (fs.File, error) { return nil, fs.ErrNotExist }, ingest.ErrChanged},
		"fails": {func(f fs.File) (fs.File, error) {
			return other{f, io.MultiReader(strings.NewReader("x"), badReader{boom})}, nil
		}, boom},
		"has another size": {func(fs.File) (fs.File, error) {
			return fstest.MapFS{"x": {Data: []byte("longer or shorter")}}.Open("x")
		}, ingest.ErrChanged},
		"is a directory now": {func(fs.File) (fs.File, error) {
			return fstest.MapFS{"x/y": {}}.Open("x")
		}, ingest.ErrChanged},
		"no permission": {func(fs.File) (fs.File, error) { return nil, fs.ErrPermission }, fs.ErrPermission},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{"top/a": {Data: []byte("a")}, "top/b/victim": {Data: random(1, 3000)}, "top/c": {Data: []byte("c")}}
			store, rec := memblob.New(), newRecorder(t)
			dst := ingest.Destination{Packs: store, Record: func() ingest.Recorder { return rec }}
			o := &ingest.Options{Profile: profile(t, unixfs.V1, func(p *unixfs.Profile) { p.ChunkSize = 1000 }), PackSize: 1500}
			_, err := ingest.Add(t.Context(), lying{files, "top/b/victim", test.open}, "top", dst, o)
			if !errors.Is(err, test.want) {
				t.Fatalf("got error %v, want %v", err, test.want)
			}
			if errors.Is(err, ingest.ErrChanged) && !strings.Contains(err.Error(), "top/b/victim") {
				t.Errorf("%q does not name the file", err)
			}
			if !rec.gone || rec.finished {
				t.Error("the record was not discarded")
			}
		})
	}
}

type badReader struct{ err error }

func (b badReader) Read([]byte) (int, error) { return 0, b.err }

func TestRefused(t *testing.T) {
	deep := "top" + strings.Repeat("/d", 210) + "/f"
	tests := map[string]struct {
		fsys fstest.MapFS
		want error
		text string
	}{
		"pipe":       {fstest.MapFS{"top/p": {Mode: fs.ModeNamedPipe}}, ingest.ErrIrregular, "top/p"},
		"socket":     {fstest.MapFS{"top/p": {Mode: fs.ModeSocket}}, ingest.ErrIrregular, "top/p"},
		"device":     {fstest.MapFS{"top/p": {Mode: fs.ModeDevice | fs.ModeCharDevice}}, ingest.ErrIrregular, "top/p"},
		"top itself": {fstest.MapFS{"top": {Mode: fs.ModeNamedPipe}}, ingest.ErrIrregular, "top"},
		"absent":     {fstest.MapFS{"other": {}}, fs.ErrNotExist, "top"},
		"too deep":   {fstest.MapFS{deep: {}}, nil, "nested more than 200 deep"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := memblob.New()
			_, err := ingest.Add(t.Context(), test.fsys, "top", ingest.Destination{Packs: store}, nil)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got error %v, want %v with %q", err, test.want, test.text)
			}
			if n := packs(t, store); n != 0 {
				t.Errorf("%d packs are stored", n)
			}
		})
	}
	p := profile(t, unixfs.V1, func(p *unixfs.Profile) { p.ChunkSize = 0 })
	if _, err := ingest.Add(t.Context(), fstest.MapFS{"f": {}}, "f", ingest.Destination{}, &ingest.Options{Profile: p}); err == nil {
		t.Error("a profile without a chunk size is taken")
	}
}

// TestRealFileSystem adds what MapFS cannot hold, through an os.Root.
func TestRealFileSystem(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("file", "content")
	write(".hidden", "secret")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"good": "file", "dangling": "nowhere", "out": "/etc/passwd", "sub/up": "../../.."} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{".", "file", ".hidden", "out", "sub"} {
		testTree(t, root.FS(), name, 1<<20, &ingest.Options{Profile: profile(t, unixfs.V1, nil), Hidden: name == "."})
	}
	write("bad\xff", "x")
	if _, err := ingest.Add(t.Context(), root.FS(), ".", ingest.Destination{Packs: memblob.New()}, nil); !errors.Is(err, ingest.ErrName) {
		t.Errorf("got error %v, want ErrName", err)
	}
}

func packs(t testing.TB, store blob.Lister) (n int) {
	t.Helper()
	for _, err := range pack.List(context.Background(), store) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// drafter wraps the drafts of a store.
type drafter struct {
	blob.Drafter
	wrap func(blob.Draft) blob.Draft
}

func (d drafter) Draft(ctx context.Context) (blob.Draft, error) {
	x, err := d.Drafter.Draft(ctx)
	if err != nil {
		return nil, err
	}
	return d.wrap(x), nil
}

// watched calls back before every use of a draft.
type watched struct {
	blob.Draft
	before func() error
}

func (w watched) WriteAt(b []byte, off int64) (int, error) {
	if err := w.before(); err != nil {
		return 0, err
	}
	return w.Draft.WriteAt(b, off)
}

func (w watched) Commit(ctx context.Context, key string) error {
	if err := w.before(); err != nil {
		return err
	}
	return w.Draft.Commit(ctx, key)
}

// TestStoppedAnywhere cancels, or fills the disk, at every step of an add in turn.
func TestStoppedAnywhere(t *testing.T) {
	fsys := randomTree(rand.New(rand.NewPCG(8, 8)), 60, 20_000)
	for _, full := range []bool{false, true} {
		for step := int64(1); ; step += 1 + step/10 {
			store, err := fsblob.Open(t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var count atomic.Int64
			before := func() error {
				if count.Add(1) < step {
					return nil
				}
				if full {
					return syscall.ENOSPC
				}
				cancel()
				return nil
			}
			rec := newRecorder(t)
			dst := ingest.Destination{
				Packs:  drafter{store, func(d blob.Draft) blob.Draft { return watched{d, before} }},
				Record: func() ingest.Recorder { return rec },
			}
			_, err = ingest.Add(ctx, fsys, "top", dst, &ingest.Options{PackSize: 30_000})
			cancel()
			for f, err := range pack.VerifyAll(t.Context(), store) {
				t.Errorf("step %d: %v %v", step, f, err)
			}
			stored := packs(t, store)
			store.Close()
			if err == nil && count.Load() < step {
				break // it ended before
			}
			if full && !errors.Is(err, syscall.ENOSPC) || !full && err != nil && !errors.Is(err, context.Canceled) {
				t.Fatalf("step %d: got error %v", step, err)
			}
			if rec.finished != (err == nil) || stored < len(rec.packs) {
				t.Errorf("step %d: finished %v, error %v; %d packs, %d reported", step, rec.finished, err, stored, len(rec.packs))
			}
		}
	}
}

func TestAddAgain(t *testing.T) {
	files := randomTree(rand.New(rand.NewPCG(3, 8)), 60, 5000)
	o := &ingest.Options{Profile: profiles(t)["v1 small"], PackSize: 10_000}
	store := memblob.New()
	known := map[digest.Digest]bool{}
	var complete []digest.Digest
	var recs []*recorder
	asked := 0
	dst := ingest.Destination{
		Packs: store,
		Record: func() ingest.Recorder {
			recs = append(recs, newRecorder(t))
			return recs[len(recs)-1]
		},
		Has: func(_ context.Context, d digest.Digest) (bool, error) { asked++; return known[d], nil },
		Complete: func(_ context.Context, d digest.Digest) (bool, error) {
			for _, c := range complete {
				if c == d {
					return true, nil
				}
			}
			return false, nil
		},
	}
	add := func() ingest.Result {
		t.Helper()
		res, err := ingest.Add(t.Context(), files, "top", dst, o)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := add()
	if !first.Stored || len(recs) != 1 || asked != 1 {
		t.Fatalf("first: %+v, %d records, %d questions", first, len(recs), asked)
	}
	for _, e := range recs[0].entries {
		d, _ := digest.FromCID(e.CID)
		known[d] = true
	}
	before := packs(t, store)
	// Its blocks are known, but the root is not complete.
	if second := add(); !second.Stored || second.Root != first.Root {
		t.Errorf("known but not complete: %+v", second)
	}
	d, _ := digest.FromCID(first.Root)
	complete = append(complete, d)
	if third := add(); third.Stored || third.Root != first.Root || third.Packs != 0 || third.Blocks != first.Blocks {
		t.Errorf("complete: %+v", third)
	}
	if last := recs[len(recs)-1]; last.finished || len(last.packs) > 0 {
		t.Error("a record was made of what was there")
	}
	// Without records of blocks only the root is known.
	clear(known)
	if fourth := add(); fourth.Stored || fourth.Root != first.Root {
		t.Errorf("only the root is known: %+v", fourth)
	}
	if after := packs(t, store); after != before {
		t.Errorf("%d packs, %d before", after, before)
	}
}

func TestDedup(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 8))
	files := randomTree(r, 60, 5000)
	elsewhere := index.Location{Path: "/somewhere"}
	var asked atomic.Int64
	for _, dedup := range []bool{false, true} {
		store, rec := memblob.New(), newRecorder(t)
		dst := ingest.Destination{
			Packs:  store,
			Record: func() ingest.Recorder { return rec },
			Locate: func(_ context.Context, c cid.Cid) (ingest.Known, error) {
				asked.Add(1)
				if c.Hash()[10]%2 == 0 {
					return ingest.Known{}, fmt.Errorf("no: %w", fs.ErrNotExist)
				}
				return ingest.Known{Location: elsewhere, Offset: 7, Framed: true}, nil
			},
		}
		p := profiles(t)["v1 small"]
		res, err := ingest.Add(t.Context(), files, "top", dst, &ingest.Options{Profile: p, Dedup: dedup})
		if err != nil {
			t.Fatal(err)
		}
		if want := newOracle(t, p).tree(files, "top", false).Cid(); res.Root != want {
			t.Errorf("root %s, want %s", res.Root, want)
		}
		pointed := 0
		for _, e := range rec.entries {
			if e.Location == elsewhere {
				pointed++
				if e.CID.Hash()[10]%2 == 0 || e.CID.Type() != cid.Raw || e.Offset != 7 || e.Unframed {
					t.Errorf("%+v points elsewhere", e)
				}
			}
		}
		if dedup != (pointed > 10) || dedup != (asked.Load() > 10) {
			t.Errorf("dedup %v: %d entries point elsewhere, %d were asked for", dedup, pointed, asked.Load())
		}
		for f, err := range pack.VerifyAll(t.Context(), store) {
			t.Errorf("%v %v", f, err)
		}
	}
}
