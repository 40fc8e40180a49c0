package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	gocar "github.com/ipld/go-car/v2"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/fsblob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/pack"
)

// encode writes a CAR.
func encode(t testing.TB, blocks ...block.Block) []byte {
	t.Helper()
	b := car.AppendHeader(nil, blocks[0].CID)
	for _, x := range blocks {
		b = car.AppendHead(b, x.CID, int64(len(x.Data)))
		b = append(b, x.Data...)
	}
	return b
}

func someBlocks(t testing.TB) []block.Block {
	x := rand.New(rand.NewPCG(7, 8))
	var bs []block.Block
	for _, n := range []int{100, 0, 57, 300, 4} {
		bs = append(bs, newBlock(t, cid.Raw, random(x, n)))
	}
	return bs
}

func TestVerifyFindsEveryFlippedByte(t *testing.T) {
	ctx := t.Context()
	blocks := someBlocks(t)
	whole := encode(t, blocks...)
	store := newStore(t)
	p, err := pack.Import(ctx, store, bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	var sections []car.Section
	for s, err := range pack.Sections(ctx, store, p.Digest) {
		if err != nil {
			t.Fatal(err)
		}
		sections = append(sections, s)
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x10
		if err := store.Put(ctx, pack.Key(p.Digest), bytes.NewReader(bad)); err != nil {
			t.Fatal(err)
		}
		named, found := false, false
		for f, err := range pack.Verify(ctx, store, p.Digest) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Pack != p.Digest {
				t.Fatalf("fault of pack %s", f.Pack)
			}
			named = named || f.Offset < 0 && errors.Is(f.Err, digest.ErrMismatch)
			for _, s := range sections {
				if s.Offset <= int64(i) && int64(i) < s.Offset+s.Size {
					found = found || f.Offset == s.Offset && f.CID == s.CID && errors.Is(f.Err, digest.ErrMismatch)
				}
			}
		}
		inBlock := false
		for _, s := range sections {
			inBlock = inBlock || s.Offset <= int64(i) && int64(i) < s.Offset+s.Size
		}
		if !named || inBlock && !found {
			t.Errorf("byte %d flipped: name fault %v, block fault %v", i, named, found)
		}
	}
}

func TestVerifyTruncated(t *testing.T) {
	ctx := t.Context()
	whole := encode(t, someBlocks(t)...)
	store := newStore(t)
	p, err := pack.Import(ctx, store, bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := store.Put(ctx, pack.Key(p.Digest), bytes.NewReader(whole[:n])); err != nil {
			t.Fatal(err)
		}
		faults := 0
		for _, err := range pack.VerifyAll(ctx, store) {
			if err != nil {
				t.Fatal(err)
			}
			faults++
		}
		if faults == 0 {
			t.Errorf("cut at %d: no fault", n)
		}
	}
}

func TestVerifyAbsent(t *testing.T) {
	d, err := digest.Sum(digest.SHA256, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range pack.Verify(t.Context(), newStore(t), d) {
		n++
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want fs.ErrNotExist", err)
		}
	}
	if n != 1 {
		t.Errorf("%d results, want 1", n)
	}
	for _, err := range pack.Sections(t.Context(), newStore(t), d) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Sections: got %v, want fs.ErrNotExist", err)
		}
	}
}

// failing is a store whose reads fail half way.
type failing struct{ blob.Getter }

type failingObject struct{ blob.Object }

func (f failing) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	o, err := f.Getter.Get(ctx, key, off, n)
	return failingObject{o}, err
}

func (failingObject) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestDiskErrorIsNoFault(t *testing.T) {
	store := newStore(t)
	p, err := pack.Import(t.Context(), store, bytes.NewReader(encode(t, someBlocks(t)...)))
	if err != nil {
		t.Fatal(err)
	}
	for f, err := range pack.Verify(t.Context(), failing{store}, p.Digest) {
		if err == nil {
			t.Errorf("fault %v, want an error", f)
		}
	}
}

func TestImport(t *testing.T) {
	ctx := t.Context()
	x := rand.New(rand.NewPCG(9, 1))
	blocks := someBlocks(t)
	blocks = append(blocks, newBlock(t, cid.DagCBOR, random(x, 1_500_000)))
	unknown, err := multihash.Encode(random(x, 20), multihash.KECCAK_224)
	if err != nil {
		t.Fatal(err)
	}
	strange := block.Block{CID: cid.NewCidV1(cid.Raw, unknown), Data: random(x, 10)}
	v1 := encode(t, append(blocks, strange)...)
	var v2 bytes.Buffer
	if err := gocar.WrapV1(bytes.NewReader(encode(t, blocks...)), &v2); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		raw  []byte
		want pack.Imported
	}{
		"v1": {v1, pack.Imported{Version: 1, Blocks: 7, Unverified: 1}},
		"v2": {v2.Bytes(), pack.Imported{Version: 2, Blocks: 6}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			got, err := pack.Import(ctx, store, iotest.HalfReader(bytes.NewReader(test.raw)))
			if err != nil {
				t.Fatal(err)
			}
			test.want.Size, test.want.Roots = int64(len(test.raw)), []cid.Cid{blocks[0].CID}
			if test.want.Digest, err = digest.Sum(digest.SHA256, test.raw); err != nil {
				t.Fatal(err)
			}
			if got.Digest != test.want.Digest {
				t.Errorf("digest %s, want %s", got.Digest, test.want.Digest)
			}
			got.Digest, test.want.Digest = digest.Digest{}, digest.Digest{}
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b cid.Cid) bool { return a == b }), cmp.Comparer(func(a, b digest.Digest) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
			d, _ := digest.Sum(digest.SHA256, test.raw)
			stored, err := blob.Read(ctx, store, pack.Key(d), 0, int64(len(test.raw)))
			if err != nil || !bytes.Equal(stored, test.raw) {
				t.Errorf("stored bytes differ, error %v", err)
			}
			for s, err := range pack.Sections(ctx, store, d) {
				if err != nil {
					t.Fatal(err)
				}
				data := test.raw[s.Offset : s.Offset+s.Size]
				if dd, _ := digest.FromCID(s.CID); dd.Verify(data) != nil && s.CID != strange.CID {
					t.Errorf("%s is not at %d", s.CID, s.Offset)
				}
			}
			for f, err := range pack.Verify(ctx, store, d) {
				t.Errorf("Verify: %v %v", f, err)
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	blocks := someBlocks(t)
	whole := encode(t, blocks...)
	bad := bytes.Clone(whole)
	bad[len(bad)-1] ^= 1
	big := block.Block{CID: blocks[0].CID, Data: make([]byte, block.MaxSize+1)}
	tests := map[string]struct {
		raw  []byte
		want error
	}{
		"bad block":  {bad, digest.ErrMismatch},
		"cut":        {whole[:len(whole)-2], car.ErrTruncated},
		"garbage":    {[]byte("<html>"), car.ErrTruncated},
		"empty":      {nil, car.ErrTruncated},
		"over 2 MiB": {encode(t, blocks[0], big), block.ErrTooLarge},
		"zeros":      {append(bytes.Clone(whole), 0, 0, 0), car.ErrMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			if _, err := pack.Import(t.Context(), store, bytes.NewReader(test.raw)); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if n := count(t, store); n != 0 {
				t.Errorf("%d blobs are stored", n)
			}
		})
	}
	boom := errors.New("boom")
	if _, err := pack.Import(t.Context(), newStore(t), iotest.ErrReader(boom)); !errors.Is(err, boom) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

func TestList(t *testing.T) {
	store := newStore(t)
	p, err := pack.Import(t.Context(), store, bytes.NewReader(encode(t, someBlocks(t)...)))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"note.txt", "a.car", p.Digest.String(), "sub/" + pack.Key(p.Digest)} {
		if err := store.Put(t.Context(), key, bytes.NewReader(nil)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for info, err := range pack.List(t.Context(), store) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(info.Digest, " ", info.Size))
	}
	if diff := cmp.Diff([]string{fmt.Sprint(p.Digest, " ", p.Size)}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e.car")
	f.Add("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG.car")
	f.Fuzz(func(t *testing.T, key string) {
		if d, err := pack.ParseKey(key); err == nil && pack.Key(d) != key {
			t.Errorf("%q is read as %q", key, pack.Key(d))
		}
	})
}

func FuzzImport(f *testing.F) {
	f.Add(encode(f, someBlocks(f)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		store := memblob.New()
		p, err := pack.Import(t.Context(), store, bytes.NewReader(raw))
		if err != nil {
			if n := count(t, store); n != 0 {
				t.Fatalf("%v, and %d blobs are stored", err, n)
			}
			return
		}
		for fault, err := range pack.Verify(t.Context(), store, p.Digest) {
			t.Errorf("imported, but %v %v", fault, err)
		}
	})
}

func ExampleImport() {
	dir, err := os.MkdirTemp("", "packs")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := fsblob.Open(filepath.Join(dir, "packs"), nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	d, err := digest.Sum(digest.SHA256, []byte("hello world"))
	if err != nil {
		panic(err)
	}
	b := car.AppendHeader(nil, d.CID(cid.Raw))
	b = append(car.AppendHead(b, d.CID(cid.Raw), 11), "hello world"...)
	p, err := pack.Import(context.Background(), store, bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	for s, err := range pack.Sections(context.Background(), store, p.Digest) {
		fmt.Println(s.CID, s.Offset, s.Size, err)
	}
	// Output: bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e 96 11 <nil>
}
