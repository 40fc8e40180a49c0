package sharded_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/index/sharded"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/streamer"
)

// vector is what another implementation wrote, and what it says of it.
type vector struct {
	Content string   `json:"content"`
	Slices  [][4]any `json:"slices"` // shard, slice, offset, length
	file    []byte
}

func vectors(t testing.TB) map[string]vector {
	t.Helper()
	all := map[string]vector{}
	for _, name := range []string{"empty", "three", "mixed"} {
		var v vector
		b, err := os.ReadFile("testdata/" + name + ".json")
		if err == nil {
			err = json.Unmarshal(b, &v)
		}
		if err == nil {
			v.file, err = os.ReadFile("testdata/" + name + ".car")
		}
		if err != nil {
			t.Fatal(err)
		}
		all[name] = v
	}
	return all
}

func TestVectors(t *testing.T) {
	for name, v := range vectors(t) {
		x, err := sharded.Decode(v.file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := map[[4]any]bool{}
		for _, s := range x.Shards {
			for _, slice := range s.Slices {
				got[[4]any{s.Digest.String(), slice.Digest.String(), float64(slice.Offset), float64(slice.Length)}] = true
			}
		}
		want := map[[4]any]bool{}
		for _, s := range v.Slices {
			want[s] = true
		}
		if diff := cmp.Diff(want, got); diff != "" || x.Content.String() != v.Content {
			t.Errorf("%s: content %s, slices (-want +got):\n%s", name, x.Content, diff)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		rng.Shuffle(len(x.Shards), func(i, j int) { x.Shards[i], x.Shards[j] = x.Shards[j], x.Shards[i] })
		for _, s := range x.Shards {
			rng.Shuffle(len(s.Slices), func(i, j int) { s.Slices[i], s.Slices[j] = s.Slices[j], s.Slices[i] })
		}
		if b, err := sharded.Encode(x); err != nil || !bytes.Equal(b, v.file) {
			t.Errorf("%s: written as %x, %v", name, b, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := vectors(t)["three"].file
	for n := range len(good) {
		if _, err := sharded.Decode(good[:n]); !errors.Is(err, sharded.ErrMalformed) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := sharded.Decode(bad); !errors.Is(err, sharded.ErrMalformed) {
			t.Fatalf("byte %d is flipped: %v", i, err)
		}
	}
	for name, root := range map[string]string{
		"another version":   "\xa1\x75index/sharded/dag@0.2\xa2\x66shards\x80\x67content",
		"long form":         "\xa1\x75index/sharded/dag@0.1\xa2\x66shards\x98\x00\x67content",
		"indefinite length": "\xa1\x75index/sharded/dag@0.1\xa2\x66shards\x9f\xff\x67content",
		"endless array":     "\xa1\x75index/sharded/dag@0.1\xa2\x66shards\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
		"other order":       "\xa1\x75index/sharded/dag@0.1\xa2\x67content",
	} {
		b := []byte(root + "\xd8\x2a\x45\x00\x01\x55\x00\x00")
		d, err := digest.Sum(digest.SHA256, b)
		if err != nil {
			t.Fatal(err)
		}
		c := d.CID(cid.DagCBOR)
		file := append(car.AppendHead(car.AppendHeader(nil, c), c, int64(len(b))), b...)
		if _, err := sharded.Decode(file); !errors.Is(err, sharded.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := sharded.Decode(append(bytes.Clone(good), good[len(good)-1500:]...)); !errors.Is(err, sharded.ErrMalformed) {
		t.Errorf("more: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	x, err := sharded.Decode(vectors(t)["three"].file)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*sharded.Index){
		"a shard twice": func(x *sharded.Index) { x.Shards = append(x.Shards, x.Shards[1]) },
		"a slice twice": func(x *sharded.Index) { x.Shards[0].Slices = append(x.Shards[0].Slices, x.Shards[0].Slices[3]) },
		"no content":    func(x *sharded.Index) { x.Content = cid.Undef },
		"negative":      func(x *sharded.Index) { x.Shards[0].Slices = []sharded.Slice{{x.Shards[0].Digest, -1, 1}} },
	} {
		bad := x
		bad.Shards = append([]sharded.Shard{}, x.Shards...)
		change(&bad)
		if _, err := sharded.Encode(bad); !errors.Is(err, sharded.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.file)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := sharded.Decode(b)
		if err != nil {
			if !errors.Is(err, sharded.ErrMalformed) {
				t.Error(err)
			}
			return
		}
		if again, err := sharded.Encode(x); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x, %v", b, again, err)
		}
	})
}

// FuzzShard fuzzes what is in the blocks, behind their hashes.
func FuzzShard(f *testing.F) {
	for _, v := range vectors(f) {
		r, err := car.NewReader(bytes.NewReader(v.file), nil)
		for err == nil {
			if _, err = r.Next(); err == nil {
				var data []byte
				data, err = r.Data()
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		content := cid.MustParse("bafkqaaa")
		d, err := digest.Sum(digest.SHA256, b)
		if err != nil {
			t.Fatal(err)
		}
		shard := d.CID(cid.DagCBOR)
		root := append([]byte("\xa1\x75index/sharded/dag@0.1\xa2\x66shards\x81\xd8\x2a\x58\x25\x00"), shard.Bytes()...)
		root = append(append(root, "\x67content\xd8\x2a\x45\x00"...), content.Bytes()...)
		if d, err = digest.Sum(digest.SHA256, root); err != nil {
			t.Fatal(err)
		}
		c := d.CID(cid.DagCBOR)
		file := append(car.AppendHead(car.AppendHeader(nil, c), c, int64(len(root))), root...)
		file = append(car.AppendHead(file, shard, int64(len(b))), b...)
		x, err := sharded.Decode(file)
		if err != nil {
			if !errors.Is(err, sharded.ErrMalformed) {
				t.Error(err)
			}
			return
		}
		if again, err := sharded.Encode(x); err != nil || !bytes.Equal(again, file) {
			t.Errorf("%x is written as %x, %v", file, again, err)
		}
	})
}

// home is a node.
type home struct {
	adopt.Home
	index *index.Index
	serve *streamer.Streamer
}

func newHome(packs *memblob.Store) *home {
	keys := memkv.New()
	h := &home{index: index.New(keys, nil)}
	h.serve = streamer.New(h.index, packs, nil)
	h.Home = adopt.Home{Keys: keys, Packs: packs, Complete: h.serve.Complete}
	return h
}

func (h *home) archive(t *testing.T, root cid.Cid) []byte {
	t.Helper()
	body, err := h.serve.Open(t.Context(), block.Selection{Root: root, Scope: block.ScopeAll, Encoding: block.EncodingCAR})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := body.Send(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestMove exports a DAG of several packs and imports it on another node with those packs.
func TestMove(t *testing.T) {
	tree, rng := fstest.MapFS{}, rand.New(rand.NewPCG(2, 3))
	for i := range 30 {
		b := make([]byte, rng.IntN(150_000))
		for j := range b {
			b[j] = byte(rng.Uint32() >> (i % 2 * 29))
		}
		tree["top/"+string(rune('A'+i))] = &fstest.MapFile{Data: b}
	}
	packs := memblob.New()
	from := newHome(packs)
	res, err := ingest.Add(t.Context(), tree, "top", ingest.Destination{
		Packs: packs, Record: func() ingest.Recorder { return index.NewBuilder(from.Keys, index.LevelAll) },
	}, &ingest.Options{PackSize: 400_000})
	if err != nil {
		t.Fatal(err)
	}
	x, err := sharded.Export(t.Context(), from.index, res.Root)
	if err != nil || len(x.Shards) < 3 {
		t.Fatalf("%d shards, %v", len(x.Shards), err)
	}
	file, err := sharded.Encode(x)
	if err == nil {
		x, err = sharded.Decode(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, skip := range []bool{true, false} {
		to := newHome(packs)
		n, err := sharded.Import(t.Context(), x, to.Home, &sharded.ImportOptions{SkipPacks: skip, Problem: func(err error) { t.Error(err) }})
		if err != nil || n.Incomplete != nil || n.Packs != int64(len(x.Shards)) || n.Blocks < 30 {
			t.Fatalf("%+v, %v", n, err)
		}
		if done, err := to.serve.Complete(t.Context(), x.Shards[0].Digest); done || err != nil {
			t.Errorf("a pack is a DAG: %v", err)
		}
		if !bytes.Equal(to.archive(t, res.Root), from.archive(t, res.Root)) {
			t.Errorf("skip %v: other bytes are served", skip)
		}
	}
	if err := packs.Delete(t.Context(), x.Shards[1].Digest.String()+".car"); err != nil {
		t.Fatal(err)
	}
	problems := 0
	n, err := sharded.Import(t.Context(), x, newHome(packs).Home, &sharded.ImportOptions{Problem: func(error) { problems++ }})
	if err != nil || !errors.Is(n.Incomplete, adopt.ErrIncomplete) || problems != 1 {
		t.Errorf("without a pack: %+v, %v, %d problems", n, err, problems)
	}
	if _, err := sharded.Export(t.Context(), newHome(packs).index, res.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("export of what is not there: %v", err)
	}
}
