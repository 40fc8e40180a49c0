package ingest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	gocar "github.com/ipld/go-car/v2"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/unixfs"
)

func TestImportCAR(t *testing.T) {
	for name, p := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			fsys := randomTree(rand.New(rand.NewPCG(4, 4)), 80, 3000)
			o, src := newOracle(t, p), blocks{}
			root := o.tree(fsys, "top", true).Cid()
			src.fromOracle(t, o, root)
			v1 := src.encode(1, root)
			var v2 bytes.Buffer
			o.must(gocar.WrapV1(bytes.NewReader(v1), &v2))
			for name, raw := range map[string][]byte{"v1": v1, "v2": v2.Bytes(), "no root": src.encode(2, cid.MustParse("bafkqaaa")), "none": src.encode(3)} {
				n := newNode()
				p, x, err := ingest.ImportCAR(t.Context(), bytes.NewReader(raw), n.packs, n.shelf)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if p.Blocks != int64(len(src)) || x.Blocks != p.Blocks || len(x.Roots) != 1 || !x.Roots[0].Complete || !x.Roots[0].CID.Equals(root) {
					t.Fatalf("%s: %+v %+v", name, p, x)
				}
				for _, sel := range []block.Selection{
					{Root: root, Scope: block.ScopeAll}, {Root: root, Scope: block.ScopeAll, Dups: true}, {Root: root, Scope: block.ScopeEntity},
				} {
					if diff := cmp.Diff(src.walk(t, sel), n.served(t, sel)); diff != "" {
						t.Errorf("%s: %+v (-want +got):\n%s", name, sel, diff)
					}
				}
			}
		})
	}
}

// TestAddIsServed adds to a real index and streams from it.
func TestAddIsServed(t *testing.T) {
	for name, p := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			fsys := randomTree(rand.New(rand.NewPCG(6, 4)), 120, 3000)
			o, src, n := newOracle(t, p), blocks{}, newNode()
			root := o.tree(fsys, "top", false).Cid()
			src.fromOracle(t, o, root)
			opts := &ingest.Options{Profile: p, PackSize: 9000}
			var entries []ingest.Entry
			opts.Trace.Added = func(e ingest.Entry) { entries = append(entries, e) }
			res, err := ingest.Add(t.Context(), fsys, "top", n.dst, opts)
			if err != nil || res.Root != root {
				t.Fatalf("%+v, %v, want root %s", res, err, root)
			}
			for _, e := range entries {
				for _, dups := range []bool{false, true} {
					sel := block.Selection{Root: e.CID, Scope: block.ScopeAll, Dups: dups}
					if diff := cmp.Diff(src.walk(t, sel), n.served(t, sel)); diff != "" {
						t.Fatalf("%s, dups %v (-want +got):\n%s", e.Path, dups, diff)
					}
				}
			}
			again, err := ingest.Add(t.Context(), fsys, "top", n.dst, opts)
			if err != nil || again.Stored || again.Root != root {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

func TestImportIncomplete(t *testing.T) {
	o, src, n := newOracle(t, profiles(t)["v1 small"]), blocks{}, newNode()
	root := o.tree(randomTree(rand.New(rand.NewPCG(4, 5)), 40, 3000), "top", true).Cid()
	src.fromOracle(t, o, root)
	order := o.order(root)
	missing, err := digest.FromCID(order[len(order)-1])
	o.must(err)
	delete(src, missing)
	_, x, err := ingest.ImportCAR(t.Context(), bytes.NewReader(src.encode(1, root, order[len(order)-1])), n.packs, n.shelf)
	o.must(err)
	if len(x.Roots) != 2 {
		t.Fatalf("%+v", x)
	}
	for _, r := range x.Roots {
		if r.Complete || !errors.Is(r.Reason, ingest.ErrIncomplete) {
			t.Errorf("%+v, want it incomplete", r)
		}
	}
	for d := range src {
		if ok, err := n.index.Has(t.Context(), d); !ok || err != nil {
			t.Errorf("block %s is not found: %v", d, err)
		}
	}
	for p, err := range n.index.Plans(t.Context(), missing) {
		t.Errorf("plan %v %v", p, err)
	}
}

// pbNode is a dag-pb block with nothing but links.
func pbNode(links ...cid.Cid) []byte {
	var b []byte
	for _, c := range links {
		l := append([]byte{0x0a, byte(c.ByteLen())}, c.Bytes()...)
		b = append(append(b, 0x12, byte(len(l))), l...)
	}
	return b
}

func cborLinks(links ...cid.Cid) []byte {
	b := []byte{0x80 | byte(len(links))}
	for _, c := range links {
		b = append(b, 0xd8, 42, 0x58, byte(c.ByteLen()+1), 0)
		b = append(b, c.Bytes()...)
	}
	return b
}

func TestImportStrangeDAGs(t *testing.T) {
	raw := uint64(cid.Raw)
	tests := map[string]struct {
		make func(s blocks) cid.Cid
		want error
		slow bool // not compared with a walk
	}{
		"dag-cbor over files": {func(s blocks) cid.Cid {
			leaf := s.add(t, raw, []byte("leaf"))
			pb := s.add(t, cid.DagProtobuf, pbNode(leaf, leaf))
			return s.add(t, cid.DagCBOR, cborLinks(pb, leaf, pb))
		}, nil, false},
		"identity nests": {func(s blocks) cid.Cid {
			c := s.add(t, raw, []byte("innermost"))
			for range 2 {
				mh, err := multihash.Encode(cborLinks(c), multihash.IDENTITY)
				if err != nil {
					t.Fatal(err)
				}
				c = cid.NewCidV1(cid.DagCBOR, mh)
			}
			return s.add(t, cid.DagCBOR, cborLinks(c))
		}, nil, false},
		"another codec for the same bytes": {func(s blocks) cid.Cid {
			leaf := s.add(t, cid.DagCBOR, cborLinks())
			other := cid.NewCidV1(cid.Raw, leaf.Hash())
			return s.add(t, cid.DagCBOR, cborLinks(leaf, other, leaf, other))
		}, nil, true},
		"doubling": {func(s blocks) cid.Cid {
			c := s.add(t, raw, []byte("bottom"))
			for range 60 {
				c = s.add(t, cid.DagCBOR, cborLinks(c, c))
			}
			return c
		}, nil, false},
		"a long chain": {func(s blocks) cid.Cid {
			c := s.add(t, raw, []byte("end"))
			for range 400 {
				c = s.add(t, cid.DagCBOR, cborLinks(c))
			}
			return c
		}, ingest.ErrUnplanned, false},
		"garbage": {func(s blocks) cid.Cid { return s.add(t, cid.DagCBOR, []byte{0xff, 0xff}) }, ingest.ErrUnplanned, true},
		"an unknown hash": {func(s blocks) cid.Cid {
			mh, err := multihash.Encode(make([]byte, 28), multihash.KECCAK_224)
			if err != nil {
				t.Fatal(err)
			}
			c := cid.NewCidV1(cid.DagCBOR, mh)
			d, err := digest.FromCID(c)
			if err != nil {
				t.Fatal(err)
			}
			s[d] = block.Block{CID: c, Data: cborLinks()}
			return c
		}, ingest.ErrUnplanned, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n, src := newNode(), blocks{}
			root := test.make(src)
			_, x, err := ingest.ImportCAR(t.Context(), bytes.NewReader(src.encode(1, root)), n.packs, n.shelf)
			if err != nil {
				t.Fatal(err)
			}
			if len(x.Roots) != 1 || !errors.Is(x.Roots[0].Reason, test.want) || x.Roots[0].Complete != (test.want == nil) {
				t.Errorf("%+v, want %v", x, test.want)
			}
			sel := block.Selection{Root: root, Scope: block.ScopeAll}
			if !test.slow {
				if diff := cmp.Diff(src.walk(t, sel), n.served(t, sel)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestIndexPackOfLeaves indexes packs whose header has no root: they hold leaves.
func TestIndexPackOfLeaves(t *testing.T) {
	n := newNode()
	from := memblob.New()
	p := profiles(t)["v1 small"]
	rec := newRecorder(t)
	data := random(7, 50_000)
	res, err := ingest.AddFile(t.Context(), bytes.NewReader(data), int64(len(data)), "f", ingest.Destination{Packs: from, Record: func() ingest.Recorder { return rec }}, &ingest.Options{Profile: p, PackSize: 8000})
	if err != nil {
		t.Fatal(err)
	}
	n.shelf.Packs = from
	var total int64
	for i := range len(rec.packs) {
		x, err := ingest.IndexPack(t.Context(), rec.packs[i], n.shelf)
		if err != nil {
			t.Fatal(err)
		}
		total += x.Blocks
		for _, r := range x.Roots {
			if i == 0 && r.CID != res.Root {
				t.Errorf("root %s, want %s", r.CID, res.Root)
			}
		}
	}
	if total != res.Blocks-res.Duplicates {
		t.Errorf("%d blocks indexed, want %d", total, res.Blocks-res.Duplicates)
	}
}

func TestImportRefusesBadBlock(t *testing.T) {
	n, src := newNode(), blocks{}
	root := src.add(t, cid.Raw, []byte("good"))
	raw := src.encode(1, root)
	raw[len(raw)-1] ^= 1
	if _, _, err := ingest.ImportCAR(t.Context(), bytes.NewReader(raw), n.packs, n.shelf); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("got %v, want a mismatch", err)
	}
	if packs(t, n.packs) != 0 {
		t.Error("a pack is stored")
	}
	// A pack that went bad after it was stored is not recorded as good.
	link := src.add(t, cid.DagCBOR, cborLinks(root))
	raw = src.encode(1, link)
	p, err := pack.Import(t.Context(), n.packs, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, cborLinks(root))
	raw[at+20] ^= 1
	if err := n.packs.Put(t.Context(), pack.Key(p.Digest), bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	if _, err := ingest.IndexPack(t.Context(), p.Digest, n.shelf); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("got %v, want a mismatch", err)
	}
}

func FuzzImportCAR(f *testing.F) {
	src := blocks{}
	leaf := src.add(f, cid.Raw, []byte("leaf"))
	root := src.add(f, cid.DagCBOR, cborLinks(leaf, leaf))
	f.Add(src.encode(1, root), uint16(0))
	f.Add(src.encode(2), uint16(7))
	dir, err := profile(f, unixfs.V1, nil).Symlink("x")
	if err != nil {
		f.Fatal(err)
	}
	src.add(f, cid.DagProtobuf, pbNode(dir.CID, leaf))
	f.Add(src.encode(3, leaf), uint16(1))
	f.Fuzz(func(t *testing.T, raw []byte, seed uint16) {
		// Blocks whose hashes are right are rare in random bytes: make one of them.
		n, s := newNode(), blocks{}
		body := append(binary.BigEndian.AppendUint16(nil, seed), raw...)
		codec := []uint64{cid.Raw, cid.DagProtobuf, cid.DagCBOR, cid.DagJSON}[seed%4]
		c := s.add(t, codec, body[min(len(body), int(seed)%3):])
		for _, input := range [][]byte{raw, s.encode(1, c), s.encode(1)} {
			_, x, err := ingest.ImportCAR(t.Context(), bytes.NewReader(input), n.packs, n.shelf)
			if err != nil {
				continue
			}
			for _, r := range x.Roots {
				if r.Complete != (r.Reason == nil) {
					t.Errorf("%+v", r)
				}
			}
		}
	})
}
