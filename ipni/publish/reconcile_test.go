package publish_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/ingest/single"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/publish"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/unixfs"
)

type kindOf = ipni.Kind

func reconcile(t *testing.T, p *publish.Publisher, want iter.Seq2[publish.Item, error], o *publish.ReconcileOptions) publish.Reconciled {
	t.Helper()
	done, err := p.Reconcile(t.Context(), want, o)
	must(t, err)
	return done
}

func TestReconcile(t *testing.T) {
	p := open(t, memkv.New(), memblob.New(), nil)
	put(t, p, "by hand", numbers(t, 0, 3), true)
	want := map[string]set{}
	for n := range 40 {
		want[fmt.Sprint(n)] = numbers(t, n, n+5)
	}
	if diff := cmp.Diff(publish.Reconciled{Items: 40, Put: 40}, reconcile(t, p, wantOf(want), nil)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(publish.Reconciled{Items: 40}, reconcile(t, p, wantOf(want), nil)); diff != "" {
		t.Error(diff)
	}
	delete(want, "7")
	want["8"], want["new"] = numbers(t, 0, 1), numbers(t, 0, 2)
	if diff := cmp.Diff(publish.Reconciled{Items: 40, Put: 2, Removed: 1}, reconcile(t, p, wantOf(want), nil)); diff != "" {
		t.Error(diff)
	}
	all := map[string]set{"by hand": numbers(t, 0, 3)}
	for id, s := range want {
		all[id] = s
	}
	if diff := cmp.Diff(all, replay(t, p).sets); diff != "" {
		t.Error(diff)
	}

	// A source that fails, or has lost nearly all, removes nothing.
	boom := errors.New("boom")
	_, err := p.Reconcile(t.Context(), func(yield func(publish.Item, error) bool) { yield(publish.Item{}, boom) }, nil)
	if !errors.Is(err, boom) {
		t.Errorf("broken source: %v", err)
	}
	few := map[string]set{"0": want["0"]}
	if _, err := p.Reconcile(t.Context(), wantOf(few), nil); !errors.Is(err, publish.ErrMass) {
		t.Errorf("mass removal: %v", err)
	}
	if diff := cmp.Diff(all, replay(t, p).sets); diff != "" {
		t.Error(diff)
	}
	reconcile(t, p, wantOf(few), &publish.ReconcileOptions{RemoveAll: true})
	if diff := cmp.Diff(map[string]set{"by hand": all["by hand"], "0": want["0"]}, replay(t, p).sets); diff != "" {
		t.Error(diff)
	}
}

// TestVersion passes over what has the version that it had, without reading it.
func TestVersion(t *testing.T) {
	p := open(t, memkv.New(), memblob.New(), nil)
	read := 0
	item := func(version string, s set) iter.Seq2[publish.Item, error] {
		entries := func(yield func(multihash.Multihash, error) bool) { read++; s.all()(yield) }
		return func(yield func(publish.Item, error) bool) {
			yield(publish.Item{ContextID: []byte("a"), Entries: entries, Version: []byte(version)}, nil)
		}
	}
	for _, step := range []struct {
		version   string
		n         int
		read, put int
	}{{"1", 3, 1, 1}, {"1", 3, 0, 0}, {"2", 3, 1, 0}, {"2", 3, 0, 0}, {"3", 4, 1, 1}} {
		read = 0
		done := reconcile(t, p, item(step.version, numbers(t, 0, step.n)), nil)
		if read != step.read || done.Put != step.put {
			t.Errorf("%+v: read %d times, put %d", step, read, done.Put)
		}
	}
}

// TestRoots advertises random trees, and compares with the blocks that they were added as.
func TestRoots(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 7))
		db, packs := memkv.New(), memblob.New()
		record := func() ingest.Recorder { return index.NewBuilder(db, index.LevelAll) }
		want := map[string]set{}
		roots := map[string][16]byte{}
		for i := range 5 {
			files := fstest.MapFS{"d/empty": {}}
			for j := range 1 + r.IntN(6) {
				data := make([]byte, r.IntN(5000))
				for k := range data {
					data[k] = byte(r.IntN(2))
				}
				name := fmt.Sprintf("d/%d/%d", j%2, j)
				files[name] = &fstest.MapFile{Data: data}
				files[name+" again"] = files[name]
			}
			profile, err := unixfs.ParseProfile(unixfs.V1)
			must(t, err)
			profile.ChunkSize = 256 // many blocks, some of them the same
			seen := set{}
			o := &ingest.Options{Profile: profile, PackSize: 4096}
			res, err := ingest.Add(t.Context(), files, "d", ingest.Destination{Packs: packs, Record: record}, o)
			must(t, err)
			x := index.New(db, nil)
			d, err := digest.FromCID(res.Root)
			must(t, err)
			for p, err := range x.Plans(t.Context(), d) {
				must(t, err)
				for rec, err := range p.Records(t.Context()) {
					must(t, err)
					if rec.Type == index.Blob {
						seen[string(rec.Digest.Bytes())] = true
					}
				}
				roots[string(d.Bytes())] = p.ID()
			}
			if len(seen) < 3 {
				t.Fatalf("tree %d has %d blocks", i, len(seen))
			}
			want[string(d.Bytes())] = seen
		}
		h := bao.NewHasher(nil)
		blob, err := single.Add(t.Context(), strings.NewReader(strings.Repeat("blob", 10_000)), packs, db, h)
		must(t, err)
		want[string(blob.Digest.Bytes())] = set{string(blob.Digest.Bytes()): true}
		placed, err := single.Place(t.Context(), strings.NewReader("in place"), index.Location{Path: "/data/file", Version: "1"}, func(int64) error { return nil }, db, h)
		must(t, err)
		want[string(placed.Digest.Bytes())] = set{string(placed.Digest.Bytes()): true}

		p := open(t, memkv.New(), memblob.New(), &publish.Options{Chunk: 10})
		x := index.New(db, nil)
		reconcile(t, p, publish.Roots(x)(t.Context()), nil)
		got := replay(t, p)
		if diff := cmp.Diff(want, got.sets); diff != "" {
			t.Fatal(diff)
		}
		if done := reconcile(t, p, publish.Roots(index.New(db, nil))(t.Context()), nil); done.Put != 0 || done.Removed != 0 {
			t.Errorf("nothing changed, and %+v", done)
		}
		for root, plan := range roots {
			must(t, index.RemovePlan(context.Background(), db, plan))
			delete(want, root)
			break
		}
		if done := reconcile(t, p, publish.Roots(index.New(db, nil))(t.Context()), nil); done.Removed != 1 {
			t.Errorf("one root was removed, and %+v", done)
		}
		if diff := cmp.Diff(want, replay(t, p).sets); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRootContext(t *testing.T) {
	d, err := digest.Sum(digest.SHA256, []byte("a"))
	must(t, err)
	if got := publish.RootContext(d); string(got) != string(d.Bytes()) {
		t.Errorf("%x", got)
	}
	long, err := digest.Sum(digest.SHA512, []byte("a"))
	must(t, err)
	if got := publish.RootContext(long); len(got) > 64 {
		t.Errorf("%d bytes", len(got))
	}
}
