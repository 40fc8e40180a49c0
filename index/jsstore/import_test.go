package jsstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/index/jsstore"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/streamer"
)

// home is a node over the packs and files of a store of hash-stream.
type home struct {
	adopt.Home
	packs *jsstore.Packs
	files *memblob.Store
	index *index.Index
	serve *streamer.Streamer
}

func newHome(packs, files *memblob.Store, layout jsstore.Layout, level index.Level) *home {
	h := &home{packs: jsstore.NewPacks(packs, &jsstore.PackOptions{Prefix: "packs/", Layout: layout}), files: files}
	keys := memkv.New()
	h.index = index.New(keys, nil)
	h.serve = streamer.New(h.index, h.packs, &streamer.Options{Files: raw{files}})
	h.Home = adopt.Home{Keys: keys, Level: level, Packs: h.packs, Complete: h.serve.Complete}
	return h
}

// raw is files that are read if they did not change.
type raw struct{ *memblob.Store }

func (r raw) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	obj, err := r.Get(ctx, key, off, n)
	if err == nil && obj.Info().Version != identity {
		obj.Close()
		return nil, blob.ErrChanged
	}
	return obj, err
}

// file finds the files of the fixture.
func (h *home) file(ctx context.Context, path string) (jsstore.File, error) {
	info, err := h.files.Stat(ctx, path)
	return jsstore.File{Location: index.Location{Path: path, Version: info.Version}, Bytes: h.files, Key: path}, err
}

// content returns the bytes of all raw blocks of the DAG below root, as they are served.
func (h *home) content(t testing.TB, root cid.Cid) []byte {
	t.Helper()
	body, err := h.serve.Open(t.Context(), block.Selection{Root: root, Scope: block.ScopeAll, Dups: true, Encoding: block.EncodingCAR})
	if err != nil {
		t.Fatal(err)
	}
	var archive, content bytes.Buffer
	if _, err := body.Send(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	r, err := car.NewReader(&archive, nil)
	for err == nil {
		var s car.Section
		if s, err = r.Next(); err == io.EOF {
			return content.Bytes()
		}
		var data []byte
		if err == nil {
			data, err = r.Data()
		}
		if err == nil && s.CID.Type() == cid.Raw {
			content.Write(data)
		}
	}
	t.Fatal(err)
	return nil
}

// stored is the stores of one kind of the fixture, as the archive shares them.
func stored(t testing.TB, name string) (indexes, packs, files *memblob.Store, m made) {
	stores, about := fixture(t)
	packs = stores["disk-single"]
	if strings.HasPrefix(name, "s3") {
		packs = stores["s3-multiple"]
	}
	return stores[name], packs, stores["files"], about[name]
}

// big is the file of the fixture that is in packs.
func big() []byte {
	b := make([]byte, 3<<20)
	for i := range b {
		b[i] = byte(1 + i>>20)
	}
	return b
}

func TestImport(t *testing.T) {
	for name, o := range indexes() {
		for _, level := range []index.Level{index.LevelAll, index.LevelMultiple, index.LevelSingle} {
			t.Run(name+" "+string(level), func(t *testing.T) {
				store, packs, files, m := stored(t, name)
				h := newHome(packs, files, o.Layout, level)
				roots, problems := map[cid.Cid]error{}, []error{}
				n, err := jsstore.Import(t.Context(), jsstore.NewReader(store, o), h.Home, &jsstore.ImportOptions{
					Files:   h.file,
					Root:    func(c cid.Cid, reason error) { roots[c] = reason },
					Problem: func(err error) { problems = append(problems, err) },
				})
				if err != nil {
					t.Fatal(err)
				}
				node := func(s string) cid.Cid { return parse(t, s).CID(cid.DagProtobuf) }
				leaf := func(s string) cid.Cid { return parse(t, s).CID(cid.Raw) }
				deep := node(m.InPlace["sub/deep.bin"])
				whole := map[cid.Cid][]byte{node(m.Root): big(), leaf(m.Small): nil}
				for path, root := range m.InPlace {
					c := node(root)
					if path == "one.bin" {
						c = leaf(root)
					}
					if c != deep {
						whole[c] = read(t, files, path)
					}
				}
				for c, want := range whole {
					if reason, told := roots[c]; reason != nil || !told {
						t.Errorf("root %s: told %v: %v", c, told, reason)
					}
					if want != nil && level != index.LevelSingle && !bytes.Equal(h.content(t, c), want) {
						t.Errorf("%s is served with other bytes", c)
					}
				}
				if !errors.Is(roots[deep], adopt.ErrIncomplete) {
					t.Errorf("a file without its inner nodes: %v", roots[deep])
				}
				for _, err := range problems {
					if !errors.Is(err, digest.ErrMismatch) || !strings.Contains(err.Error(), "sub/deep.bin") {
						t.Error(err)
					}
				}
				if len(problems) != 3 || n.Roots != int64(len(whole)) || n.Packs != 4 || n.Problems != 4 {
					t.Errorf("%+v, problems %v", n, problems)
				}
				if level != index.LevelMultiple {
					allFound(t, h, store, o, files)
				}
			})
		}
	}
}

// allFound looks up every block that the records tell of, but for those that are wrong.
func allFound(t *testing.T, h *home, store *memblob.Store, o *jsstore.Options, files *memblob.Store) {
	t.Helper()
	missing, n := 0, 0
	var check func(r jsstore.Record)
	check = func(r jsstore.Record) {
		for _, sub := range r.Sub {
			check(sub)
		}
		if r.Type != index.Blob {
			return
		}
		n++
		for b, err := range h.serve.Blocks(t.Context(), r.Digest) {
			if errors.Is(err, fs.ErrNotExist) {
				missing++
				return
			}
			if err != nil || r.Digest.Verify(b.Data) != nil {
				t.Errorf("block %s: %v", r.Digest, err)
			}
			break
		}
	}
	for r, err := range jsstore.NewReader(store, o).Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		check(r)
	}
	if missing != 3 || n < 20 {
		t.Errorf("%d of %d blocks are not found, want 3, the inner nodes of a file in place", missing, n)
	}
}

// TestImportFaults imports a store of which much is missing, damaged or wrong.
func TestImportFaults(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(indexes())) {
		t.Run(name, func(t *testing.T) {
			o := indexes()[name]
			store, packs, files, m := stored(t, name)
			h := newHome(packs, files, o.Layout, index.LevelAll)
			flipped := pack.Key(parse(t, m.Packs[0]))
			obj, err := h.packs.Get(t.Context(), flipped, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(obj)
			obj.Close()
			b[len(b)/2] ^= 1
			for _, err := range []error{
				err,
				h.packs.Put(t.Context(), flipped, bytes.NewReader(b)),
				h.packs.Delete(t.Context(), pack.Key(parse(t, m.Small))),
				h.packs.Delete(t.Context(), pack.Key(parse(t, m.InPlace["one.bin"]))),
				files.Put(t.Context(), `sub/a "quoted" ü`+"\u2028.bin", strings.NewReader("short")),
				store.Put(t.Context(), o.Prefix+m.Small+"/12", strings.NewReader(`{"data":`)),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			reasons, problems := map[string]error{}, ""
			_, err = jsstore.Import(t.Context(), jsstore.NewReader(store, o), h.Home, &jsstore.ImportOptions{
				Files:   h.file,
				Root:    func(c cid.Cid, reason error) { reasons[digestOf(t, c)] = reason },
				Problem: func(err error) { problems += err.Error() + "\n" },
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{m.Packs[0], m.InPlace["one.bin"], `sub/a \"quoted\"`, m.Small + "/12"} {
				if !strings.Contains(problems, want) {
					t.Errorf("nothing is told of %s:\n%s", want, problems)
				}
			}
			for path, root := range m.InPlace {
				if whole := path == "a\tb\u0001\\\u007f&<>.bin"; (reasons[root] == nil) != whole && path != "one.bin" {
					t.Errorf("%s: %v", path, reasons[root])
				}
			}
			if reasons[m.Root] == nil {
				t.Error("a DAG of which a pack is damaged is said to be whole")
			}
		})
	}
}

func digestOf(t *testing.T, c cid.Cid) string {
	d, err := digest.FromCID(c)
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// TestImportRecordsOnly reads no pack.
func TestImportRecordsOnly(t *testing.T) {
	store, packs, files, m := stored(t, "disk-multiple")
	h := newHome(packs, files, "", index.LevelAll)
	h.Packs = nil // to be seen if it is used
	n, err := jsstore.Import(t.Context(), jsstore.NewReader(store, indexes()["disk-multiple"]), h.Home, &jsstore.ImportOptions{SkipPacks: true})
	if err != nil || n.Packs != 0 || n.Blocks < 5 {
		t.Fatalf("%+v, %v", n, err)
	}
	if got := h.content(t, parse(t, m.Root).CID(cid.DagProtobuf)); !bytes.Equal(got, big()) {
		t.Error("the DAG is not served by a walk")
	}
}
