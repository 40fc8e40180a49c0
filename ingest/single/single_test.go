package single_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest/single"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/outboard"
)

func places(t *testing.T, keys *memkv.Store, d digest.Digest) (n int) {
	t.Helper()
	for _, err := range index.New(keys, nil).Blobs(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestAdd(t *testing.T) {
	h := bao.NewHasher(nil)
	for _, size := range []int{0, 1, bao.GroupSize, bao.GroupSize + 1, 3<<20 + 1} {
		objects, keys := memblob.New(), memkv.New()
		data := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
		want, err := digest.Sum(digest.BLAKE3, data)
		if err != nil {
			t.Fatal(err)
		}
		add := func() single.Result {
			t.Helper()
			res, err := single.Add(t.Context(), iotest.HalfReader(bytes.NewReader(data)), objects, keys, h)
			if err != nil || res.Digest != want || res.Size != int64(size) {
				t.Fatalf("%d bytes: %v, %v", size, res, err)
			}
			if got, err := blob.Read(t.Context(), objects, index.BlobKey(want), 0, int64(size)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes: stored %d, %v", size, len(got), err)
			}
			if _, err := outboard.New(keys, nil).Open(t.Context(), want); (err == nil) != (size > bao.GroupSize) {
				t.Errorf("%d bytes: tree: %v", size, err)
			}
			if n := places(t, keys, want); n != 1 {
				t.Errorf("%d bytes: %d places", size, n)
			}
			return res
		}
		if !add().Stored || add().Stored {
			t.Errorf("%d bytes: not stored once", size)
		}
		// A record that went, an object that went, one that was cut, one that is known to be bad.
		loc := index.StoredBlob(want)
		damage := map[string]func() error{
			"record": func() error { return index.RemoveLocation(t.Context(), keys, loc) },
			"object": func() error { return objects.Delete(t.Context(), index.BlobKey(want)) },
			"size": func() error {
				return objects.Put(t.Context(), index.BlobKey(want), strings.NewReader(string(data)+"!"))
			},
			"quarantine": func() error {
				return errors.Join(objects.Put(t.Context(), index.BlobKey(want), strings.NewReader(strings.Repeat("x", size))), index.Quarantine(t.Context(), keys, want, loc, "bad"))
			},
		}
		for name, do := range damage {
			if err := do(); err != nil {
				t.Fatal(err)
			}
			if !add().Stored {
				t.Errorf("%d bytes: %s was not mended", size, name)
			}
		}
	}
}

func TestBlobKey(t *testing.T) {
	d, err := digest.Sum(digest.BLAKE3, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := index.ParseBlobKey(index.BlobKey(d)); got != d || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if key, ok := index.StoredBlob(d).StoreKey(); !ok || key != index.BlobKey(d) {
		t.Errorf("key %q, %v", key, ok)
	}
	for _, key := range []string{"", ".blob", d.String(), d.String() + ".car", "B" + d.String()[1:] + ".blob", "x/" + index.BlobKey(d)} {
		if _, err := index.ParseBlobKey(key); !errors.Is(err, digest.ErrInvalid) {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, loc := range []index.Location{{Path: "/store:x"}, {Pack: d}} {
		if _, ok := loc.StoreKey(); ok {
			t.Errorf("%s is in the store", loc)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

var errBroken = errors.New("broken")

// TestFails has content that cannot be read, or has changed: nothing is found of it.
func TestFails(t *testing.T) {
	objects, keys := memblob.New(), memkv.New()
	const long = 300 << 20 // enough for a first batch of the tree
	broken := func(n int64) io.Reader {
		return io.MultiReader(io.LimitReader(zeros{}, n), iotest.ErrReader(errBroken))
	}
	h := bao.NewHasher(nil)
	if _, err := single.Add(t.Context(), broken(5<<20), objects, keys, h); !errors.Is(err, errBroken) {
		t.Errorf("add: %v", err)
	}
	loc := index.Location{Path: "/f", Version: "1"}
	if _, err := single.Place(t.Context(), broken(long), loc, func(int64) error { return nil }, keys, h); !errors.Is(err, errBroken) {
		t.Errorf("place: %v", err)
	}
	changed := func(size int64) error {
		if size != long {
			return fmt.Errorf("%d bytes", size)
		}
		return blob.ErrChanged
	}
	if _, err := single.Place(t.Context(), io.LimitReader(zeros{}, long), loc, changed, keys, h); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("place of what changed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := single.Add(ctx, broken(5<<20), objects, keys, h); !errors.Is(err, context.Canceled) {
		t.Errorf("add after the end: %v", err)
	}
	for p, err := range keys.Scan(t.Context(), kv.Range{}) {
		t.Errorf("%x was left, %v", p.Key, err)
	}
	for info := range objects.List(t.Context(), "") {
		t.Errorf("%s was left", info.Key)
	}
}
