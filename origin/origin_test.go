package origin_test

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/blob/treeblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/origin"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/pipeline"
	"github.com/hashstream/hashstream/queue/memqueue"
	"github.com/hashstream/hashstream/streamer"
	"github.com/hashstream/hashstream/unixfs"
)

// site is a directory of files, an indexer of it and a streamer over both.
type site struct {
	dir      string
	src      origin.Source
	keys     *memkv.Store
	packs    *memblob.Store
	indexer  *origin.Indexer
	streamer *streamer.Streamer
	read     atomic.Int64 // bytes that were hashed
	written  int
}

func newSite(t *testing.T, level index.Level) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), keys: memkv.New(), packs: memblob.New()}
	s.src = origin.Source{URL: s.dir, Profile: small(t), Level: level}
	s.run(t, s.src.URL)
	return s
}

func (s *site) stores() origin.Stores {
	return origin.Stores{
		KV: s.keys, Index: index.New(s.keys, nil),
		Destination: func(l index.Level) (ingest.Destination, error) { return s.destination(l), nil },
		RemovePack: func(ctx context.Context, name string) error {
			d, err := digest.Parse(name)
			if err != nil {
				return err
			}
			if err := index.RemoveLocation(ctx, s.keys, index.Location{Pack: d}); err != nil {
				return err
			}
			return s.packs.Delete(ctx, pack.Key(d))
		},
	}
}

func (s *site) destination(l index.Level) ingest.Destination {
	dst := ingest.Destination{Packs: s.packs, Record: func() ingest.Recorder { return index.NewBuilder(s.keys, l) }}
	if l == index.LevelAll || l == index.LevelSingle {
		dst.Blocks = index.NewBlocks(s.keys)
	}
	return dst
}

// run starts workers for the life of the test.
func (s *site) run(t *testing.T, root string) {
	t.Helper()
	p := pipeline.New(s.keys, memqueue.New(nil), &pipeline.Options{Delay: time.Millisecond, Attempts: 2})
	s.indexer = origin.New(s.stores(), s.open, p, &origin.Options{Read: func(_ string, n int64) { s.read.Add(n) }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Work(ctx, s.indexer.Work) }()
	t.Cleanup(func() { cancel(); <-done })
	s.streamer = streamer.New(index.New(s.keys, nil), s.packs, &streamer.Options{Files: paths{s}})
}

func (s *site) open(_ context.Context, url string) (origin.Tree, io.Closer, error) {
	dir, name := url, "."
	if fi, err := os.Stat(url); err == nil && !fi.IsDir() {
		dir, name = filepath.Split(url)
	}
	tree, err := treeblob.Open(dir)
	if err != nil {
		return origin.Tree{}, nil, err
	}
	return origin.Tree{
		FS: tree.FS(), Name: name,
		Path:     func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) },
		Identity: treeblob.Identity, Same: treeblob.Same,
	}, tree, nil
}

// paths reads files by their absolute path.
type paths struct{ s *site }

func (p paths) GetIf(ctx context.Context, path, identity string, off, n int64) (blob.Object, error) {
	tree, err := treeblob.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	return tree.GetIf(ctx, filepath.Base(path), identity, off, n)
}

func (s *site) scan(t *testing.T) origin.Scanned {
	t.Helper()
	got, err := s.indexer.Scan(t.Context(), s.src, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (s *site) write(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(s.dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
		s.age(t, path)
	}
}

// age makes a file older than what is hashed twice, and younger than all before.
func (s *site) age(t *testing.T, path string) {
	t.Helper()
	s.written++
	at := time.Now().Add(-time.Hour).Add(time.Duration(s.written) * time.Second)
	must(t, os.Chtimes(path, at, at))
}

// car returns the CAR of a root, or the error that the first byte or a later one gave.
func (s *site) car(ctx context.Context, root cid.Cid, dups bool) ([]byte, error) {
	body, err := s.streamer.Open(ctx, block.Selection{Root: root, Scope: block.ScopeAll, Dups: dups})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	n, err := body.Send(ctx, &b)
	if size, exact := body.Size(); err == nil && exact && n != size {
		err = fmt.Errorf("sent %d bytes, promised %d", n, size)
	}
	return b.Bytes(), err
}

// small is a profile whose DAGs are deep at sizes that tests like.
func small(t *testing.T) unixfs.Profile {
	t.Helper()
	p, err := unixfs.ParseProfile(unixfs.V1)
	must(t, err)
	p.ChunkSize, p.Width = 1000, 4
	return p
}

// TestSameAsAdd compares random trees in place with the same trees added.
func TestSameAsAdd(t *testing.T) {
	for seed := range uint64(30) {
		level := []index.Level{index.LevelAll, index.LevelMultiple, index.LevelSingle}[seed%3]
		t.Run(fmt.Sprintf("%d %s", seed, level), func(t *testing.T) {
			s := newSite(t, level)
			randomTree(t, rand.New(rand.NewPCG(seed, 7)), s.dir)
			got := s.scan(t)

			added := newSite(t, level)
			root, err := os.OpenRoot(s.dir)
			must(t, err)
			defer root.Close()
			want, err := ingest.Add(t.Context(), root.FS(), ".", added.destination(level), &ingest.Options{Profile: s.src.Profile})
			must(t, err)
			if got.Result.Root != want.Root || got.Result.DAGSize != want.DAGSize || got.Bytes != want.Size || got.Result.Blocks != want.Blocks {
				t.Fatalf("in place %+v\nadded    %+v", got, want)
			}
			for _, dups := range []bool{false, true} {
				there, err := s.car(t.Context(), got.Result.Root, dups)
				must(t, err)
				packed, err := added.car(t.Context(), want.Root, dups)
				must(t, err)
				if !bytes.Equal(there, packed) {
					t.Errorf("dups=%v: CARs of %d and %d bytes differ", dups, len(there), len(packed))
				}
			}
			if again := s.scan(t); again.Different() || again.Result.Root != got.Result.Root {
				t.Errorf("a scan of the same files gives %+v", again)
			}
		})
	}
}

func randomTree(t *testing.T, r *rand.Rand, dir string) {
	t.Helper()
	shared := make([]byte, 3500)
	fillRandom(r, shared)
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		for i := range r.IntN(6) + 1 {
			path := filepath.Join(dir, fmt.Sprintf("%c%d", 'a'+rune(r.IntN(26)), i))
			switch k := r.IntN(10); {
			case k < 3 && depth < 4:
				must(t, os.Mkdir(path, 0o755))
				fill(path, depth+1)
			case k == 3:
				must(t, os.Symlink("../somewhere", path))
			case k == 4:
				must(t, os.WriteFile(path, shared, 0o644)) // a duplicate, with leaves in common
			case k == 5:
				must(t, os.WriteFile(path, bytes.Repeat(shared[:1000], 1+r.IntN(9)), 0o644)) // repeats itself
			case k == 6:
				must(t, os.WriteFile(path, nil, 0o644))
			default:
				b := make([]byte, r.IntN(12_000))
				fillRandom(r, b)
				must(t, os.WriteFile(path, b, 0o644))
			}
		}
	}
	fill(dir, 0)
}

func fillRandom(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// TestChange changes one file after the other and looks at what can be found.
func TestChange(t *testing.T) {
	s := newSite(t, index.LevelAll)
	large := string(bytes.Repeat([]byte("0123456789abcdef"), 700))
	s.write(t, map[string]string{"a": "alpha", "large": large, "sub/b": "beta", "sub/deep/c": "gamma"})
	first := s.scan(t)
	if want := (origin.Report{Files: 4, Bytes: 5 + 4 + 5 + int64(len(large)), New: 4, Other: 2}); first.Report != want {
		t.Errorf("first scan %+v, want %+v", first.Report, want)
	}
	for name, c := range map[string]struct {
		change func()
		want   origin.Report
	}{
		"large changed": {
			func() { s.write(t, map[string]string{"large": large + "!"}) },
			origin.Report{Files: 4, Bytes: first.Bytes + 1, Unchanged: 3, Changed: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			old := s.scan(t).Result.Root
			largeRoot := s.dryRun(t, "large")
			c.change()
			// Nobody has looked yet, but what is read on a condition is not there any more.
			if b, err := s.car(t.Context(), largeRoot, false); !errors.Is(err, fs.ErrNotExist) || len(b) > 0 {
				t.Errorf("the CAR of a changed file gives %d bytes, %v before the scan", len(b), err)
			}
			if b, err := s.car(t.Context(), old, false); err == nil {
				t.Errorf("the CAR of the old root gives %d bytes before the scan", len(b))
			}
			got := s.scan(t)
			if diff := cmp.Diff(c.want, got.Report); diff != "" {
				t.Errorf("scan: %s", diff)
			}
			for _, gone := range []cid.Cid{largeRoot, old} {
				if b, err := s.car(t.Context(), gone, false); !errors.Is(err, fs.ErrNotExist) || len(b) > 0 {
					t.Errorf("the CAR of %s gives %d bytes, %v after the scan", gone, len(b), err)
				}
			}
			if _, err := s.car(t.Context(), got.Result.Root, false); err != nil {
				t.Errorf("the new root: %v", err)
			}
		})
	}
}

// TestNames follows files through renames and links without hashing them again.
func TestNames(t *testing.T) {
	s := newSite(t, index.LevelAll)
	s.write(t, map[string]string{"a": "alpha", "sub/large": string(make([]byte, 9999)), "sub/x": "x"})
	s.scan(t)
	hashed := s.read.Load()
	must(t, os.Rename(filepath.Join(s.dir, "a"), filepath.Join(s.dir, "renamed")))
	must(t, os.Rename(filepath.Join(s.dir, "sub"), filepath.Join(s.dir, "moved")))
	must(t, os.Link(filepath.Join(s.dir, "renamed"), filepath.Join(s.dir, "linked")))
	got := s.scan(t)
	if s.read.Load() != hashed {
		t.Errorf("%d bytes were hashed again", s.read.Load()-hashed)
	}
	if want := (origin.Report{Files: 4, Bytes: 10010, New: 4, Removed: 3, Other: 2}); got.Report != want {
		t.Errorf("scan %+v, want %+v", got.Report, want)
	}
	other := newSite(t, index.LevelAll)
	other.src.URL = s.dir
	if want := other.scan(t); want.Result.Root != got.Result.Root {
		t.Errorf("root %s, a fresh scan gives %s", got.Result.Root, want.Result.Root)
	}
	if _, err := s.car(t.Context(), got.Result.Root, true); err != nil {
		t.Error(err)
	}
	must(t, os.Remove(filepath.Join(s.dir, "linked")))
	if _, err := s.car(t.Context(), s.scan(t).Result.Root, true); err != nil {
		t.Errorf("after one of two links went: %v", err)
	}
}

// TestResume interrupts scans and expects the next to hash only what is left.
func TestResume(t *testing.T) {
	s := newSite(t, index.LevelAll)
	for i := range 2000 {
		s.write(t, map[string]string{fmt.Sprintf("d%d/f%d", i%7, i): fmt.Sprint("content ", i)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for s.read.Load() < 5000 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := s.indexer.Scan(ctx, s.src, nil); !errors.Is(err, context.Canceled) {
		t.Skipf("the scan was through before it could be interrupted: %v", err)
	}
	s.scan(t)
	whole := newSite(t, index.LevelAll)
	whole.src.URL = s.dir
	want := whole.scan(t)
	if got := s.scan(t); got.Result.Root != want.Result.Root {
		t.Errorf("root %s, want %s", got.Result.Root, want.Result.Root)
	}
	if s.read.Load() > want.Bytes+20_000 {
		t.Errorf("%d bytes were hashed for %d", s.read.Load(), want.Bytes)
	}
}

// TestUnreadable names the file that could not be indexed, and takes the others.
func TestUnreadable(t *testing.T) {
	s := newSite(t, index.LevelAll)
	s.write(t, map[string]string{"good": "good", "bad": "bad"})
	blocked := blockedFS{s, "bad"}
	p := pipeline.New(s.keys, memqueue.New(nil), nil)
	x := origin.New(s.stores(), blocked.open, p, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go p.Work(ctx, x.Work)
	if _, err := x.Scan(ctx, s.src, nil); !errors.Is(err, origin.ErrIncomplete) || !bytes.Contains([]byte(err.Error()), []byte("bad")) {
		t.Errorf("scan gives %v", err)
	}
	if ok, err := index.New(s.keys, nil).Has(ctx, sum(t, "good")); err != nil || !ok {
		t.Errorf("the other file is not indexed: %v", err)
	}
	if got := s.scan(t); got.Unchanged != 1 || got.New != 1 { // now it can be read
		t.Errorf("the next scan gives %+v", got)
	}
}

// blockedFS refuses one file.
type blockedFS struct {
	s    *site
	name string
}

func (b blockedFS) open(ctx context.Context, url string) (origin.Tree, io.Closer, error) {
	tree, closer, err := b.s.open(ctx, url)
	tree.FS = blockedNames{tree.FS.(readLinkFS), b.name}
	return tree, closer, err
}

type readLinkFS interface {
	fs.ReadDirFS
	fs.ReadLinkFS
}

type blockedNames struct {
	readLinkFS
	name string
}

func (b blockedNames) Open(name string) (fs.File, error) {
	if name == b.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return b.readLinkFS.Open(name)
}

// TestForget removes a source and keeps the same content elsewhere.
func TestForget(t *testing.T) {
	s := newSite(t, index.LevelAll)
	s.write(t, map[string]string{"a": "alpha", "b": string(make([]byte, 5000))})
	root := s.scan(t).Result.Root
	must(t, s.indexer.Forget(t.Context(), s.src))
	if _, err := s.car(t.Context(), root, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root of a forgotten source: %v", err)
	}
	for st, err := range s.indexer.Sources(t.Context()) {
		t.Errorf("source %+v, %v is still known", st, err)
	}
	if again := s.scan(t); again.Result.Root != root || again.New != 2 {
		t.Errorf("scanned again: %+v", again)
	}
}

func sum(t *testing.T, s string) digest.Digest {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, []byte(s))
	must(t, err)
	return d
}

func (s *site) dryRun(t *testing.T, name string) cid.Cid {
	t.Helper()
	res, err := ingest.Add(t.Context(), os.DirFS(s.dir), name, ingest.Destination{}, &ingest.Options{Profile: s.src.Profile, DryRun: true})
	must(t, err)
	return res.Root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestYoung changes a file in a way that its times do not show.
func TestYoung(t *testing.T) {
	s := newSite(t, index.LevelAll)
	path := filepath.Join(s.dir, "a")
	now := time.Now()
	for _, content := range []string{"alpha", "gamma"} {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		must(t, err)
		_, err = f.WriteAt([]byte(content), 0)
		must(t, errors.Join(err, f.Close(), os.Chtimes(path, now, now)))
		if got, want := s.scan(t).Result.Root, s.dryRun(t, "."); got != want {
			t.Errorf("%s: root %s, want %s", content, got, want)
		}
	}
}
