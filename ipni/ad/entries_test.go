package ad_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	oracle "github.com/ipni/go-libipni/ingest/schema"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// multihashes returns n multihashes of 34 bytes.
func multihashes(n int) (all ipni.Multihashes) {
	for i := range n {
		var number [8]byte
		binary.BigEndian.PutUint64(number[:], uint64(i))
		d := sha256.Sum256(number[:])
		all = append(append(all, 0x12, 32), d[:]...)
	}
	return all
}

// rawChunk encodes a chunk as the library does.
func rawChunk(tb testing.TB, codec uint64, next cid.Cid, mhs ...multihash.Multihash) (cid.Cid, []byte) {
	tb.Helper()
	chunk := oracle.EntryChunk{Entries: mhs}
	if next.Defined() {
		chunk.Next = cidlink.Link{Cid: next}
	}
	node, err := chunk.ToNode()
	if err != nil {
		tb.Fatal(err)
	}
	return encoded(tb, node, codec)
}

func list(tb testing.TB, mhs ipni.Multihashes) (all []multihash.Multihash) {
	tb.Helper()
	for mh, err := range mhs.All() {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, mh)
	}
	return all
}

// odd has multihashes of many sizes.
func odd() ipni.Multihashes {
	mhs := multihashes(2)
	mhs = append(mhs, 0, 0)                                             // identity of nothing
	mhs = append(mhs, append([]byte{0x13, 64}, make([]byte, 64)...)...) // sha2-512
	mhs = append(mhs, append([]byte{0xa0, 0xe4, 2, 32}, make([]byte, 32)...)...)
	mhs = append(mhs, append([]byte{0, 0x80, 2}, make([]byte, 256)...)...)
	mhs = append(mhs, 0x11, 3, 1, 2, 3)
	return append(mhs, multihashes(3)...)
}

func TestChunks(t *testing.T) {
	v1, v0 := named(t, cid.DagJSON, []byte("next")), cid.MustParse("QmQzqxhK82kAmKvARFZSkUVS6fo9sySaiogAnx5EnZ6ZmC")
	for name, c := range map[string]struct {
		mhs  ipni.Multihashes
		next cid.Cid
	}{
		"empty":     {nil, cid.Undef},
		"one":       {multihashes(1), cid.Undef},
		"many":      {multihashes(1000), v1},
		"odd":       {odd(), v1},
		"version 0": {multihashes(3), v0},
		"dag-cbor":  {multihashes(3), named(t, cid.DagCBOR, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			want := list(t, c.mhs)
			named, data, err := ad.EncodeChunk(c.mhs, c.next)
			if err != nil {
				t.Fatal(err)
			}
			for _, codec := range []uint64{cid.DagJSON, cid.DagCBOR} {
				theirs, block := rawChunk(t, codec, c.next, want...)
				if codec == cid.DagJSON && (theirs != named || !bytes.Equal(block, data)) {
					t.Errorf("encoded\n%s\ngo-libipni\n%s", data, block)
				}
				e, err := ad.DecodeEntries(theirs, block)
				if err != nil {
					t.Fatal(err)
				}
				wantLinks := []cid.Cid{c.next}[:btoi(c.next.Defined())]
				if !bytes.Equal(e.Multihashes, c.mhs) || e.Count != len(want) || !slices.Equal(e.Links, wantLinks) {
					t.Errorf("decoded %d: %x, %v", e.Count, e.Multihashes, e.Links)
				}
			}
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A chunk is more than its canonical form: spaces, padded base 64 and other orders.
func TestChunkForms(t *testing.T) {
	mh := multihashes(1)
	raw, padded := base64.RawStdEncoding.EncodeToString(mh), base64.StdEncoding.EncodeToString(mh)
	next := named(t, cid.DagJSON, nil)
	for _, text := range []string{
		`{"Entries":[{"/":{"bytes":"` + raw + `"}}],"Next":{"/":"` + next.String() + `"}}`,
		`{"Entries":[{"/":{"bytes":"` + padded + `"}}],"Next":{"/":"` + next.String() + `"}}`,
		` {"Entries" : [ {"/":{"bytes":"` + raw + `"}} ] , "Next":{"/":"` + next.String() + `"}}` + "\n",
		`{"Next":{"/":"` + next.String() + `"},"Entries":[{"/":{"bytes":"` + raw + `"}}]}`,
		`{"\u0045ntries":[{"/":{"bytes":"` + raw + `"}}],"Next":{"/":"` + next.String() + `"}}`,
	} {
		e, err := ad.DecodeEntries(named(t, cid.DagJSON, []byte(text)), []byte(text))
		if err != nil || !bytes.Equal(e.Multihashes, mh) || e.Count != 1 || len(e.Links) != 1 || e.Links[0] != next {
			t.Errorf("%s: %v, %v", text, e, err)
		}
	}
}

func entry(b string) string {
	return `{"/":{"bytes":"` + base64.RawStdEncoding.EncodeToString([]byte(b)) + `"}}`
}

func TestRefuseEntries(t *testing.T) {
	good := entry(string(multihashes(1)))
	next := `"Next":{"/":"` + named(t, cid.DagJSON, nil).String() + `"}`
	identity := "\x00\x80\x08" + strings.Repeat("x", 1024)
	for _, text := range []string{
		"", "{}", "[]", `{"Entries":`, `{"Entries":[`, `{"Entries":[]`, `{"Entries":[` + good, `{"Entries":[` + good + good + `]}`,
		`{"Entries":[` + good + `]}}`, `{"Entries":[` + good + `]},` + next + `}`, `{"Entries":[` + good + `],"Next":{"/":"nothing"}}`, `{"Entries":[` + good + `],"Next":null}`,
		`{"Entries":[` + good + `],"Next":{"/":"` + long(cid.DagJSON).String() + `"}}`, `{"Entries": [` + good + `],"Next":{"/":"` + long(cid.DagJSON).String() + `"}}`,
		`[1,[{"/":"` + long(cid.DagJSON).String() + `"}]]`, `{"Entries":[` + good + `],"More":1}`, `{"Entries":[],` + next + `}`, `{"Entries":[` + entry("") + `]}`, `{"Entries":[` + entry("x") + `]}`,
		`{"Entries":[` + entry("\x12\x20short") + `]}`, `{"Entries":[` + entry("\x12\x01long") + `]}`, `{"Entries":[` + entry(identity) + `]}`,
		`{"Entries":[{"/":{"bytes":"!!!!"}}]}`, `{"Entries":[` + strings.Repeat("[", 100_000) + `]}`, strings.Repeat("[", 100_000), strings.Repeat(`{"hamt":`, 100_000),
		`{"Entries":[` + good + `],"Next":{"/":"z` + strings.Repeat("2", 3_000_000) + `"}}`,
		`{"bucketSize":1,"hamt":[{"/":{"bytes":"AA"}},[{"/":"z` + strings.Repeat("2", 3_000_000) + `"}]],"hashAlg":34}`,
		`[1]`, `[1,2]`, `[1,[2]]`, `[1,[[2]]]`, `[1,[[[2]]]]`, `[1,[[[2,3]]]]`, `[1,[[[` + entry("x") + `,true]]]]`, `{"hamt":1}`,
		`[1,[` + strings.Repeat("[],", 1<<20) + `[]]]`, `[1,[[` + strings.Repeat("0,", 1<<20) + `0]]]`,
	} {
		e, err := ad.DecodeEntries(named(t, cid.DagJSON, []byte(text)), []byte(text))
		if !errors.Is(err, digest.ErrMismatch) || e.Count != 0 || e.Multihashes != nil || e.Links != nil {
			t.Errorf("%.200s: %v, %v", text, e, err)
		}
	}
	c, data, err := ad.EncodeChunk(multihashes(1), cid.Undef)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []cid.Cid{cid.Undef, named(t, cid.Raw, data), named(t, cid.DagCBOR, data), named(t, cid.DagJSON, nil)} {
		if e, err := ad.DecodeEntries(c, data); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: %v, %v", c, e, err)
		}
	}
	large := append(data, bytes.Repeat([]byte{' '}, ipni.MaxBlock)...)
	if _, err := ad.DecodeEntries(named(t, cid.DagJSON, large), large); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("%s: a large block: %v", c, err)
	}
}

func TestTooManyEntries(t *testing.T) {
	for _, extra := range []int{0, 1} {
		mhs := make(ipni.Multihashes, 2*(ad.MaxEntries+extra)) // identities of nothing
		if _, _, err := ad.EncodeChunk(mhs, cid.Undef); (err == nil) != (extra == 0) {
			t.Errorf("encode %d: %v", ad.MaxEntries+extra, err)
		}
		for _, codec := range []uint64{cid.DagJSON, cid.DagCBOR} {
			c, data := rawChunk(t, codec, cid.Undef, list(t, mhs)...)
			if e, err := ad.DecodeEntries(c, data); (err == nil) != (extra == 0) || e.Count != (1-extra)*ad.MaxEntries {
				t.Errorf("decode %d: %d, %v", ad.MaxEntries+extra, e.Count, err)
			}
		}
	}
	if _, _, err := ad.EncodeChunk(multihashes(70_000), cid.Undef); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a chunk above the size of a block: %v", err)
	}
	if _, _, err := ad.EncodeChunk(ipni.Multihashes{0x12, 32, 1}, cid.Undef); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a malformed multihash: %v", err)
	}
	if _, _, err := ad.EncodeChunk(nil, named(t, cid.DagJSON, nil)); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("an empty chunk with a next one: %v", err)
	}
}

// The file was written by index-provider's HAMT chunker (murmur3, 3 bits, buckets of
// 2): the root, then the CID and the block of each node. It holds the sha2-256 of the
// numbers 0 to 39 as text.
func TestHAMT(t *testing.T) {
	text, err := os.ReadFile("testdata/hamt.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Scan()
	todo := []cid.Cid{cid.MustParse(lines.Text())}
	blocks := map[cid.Cid][]byte{}
	for lines.Scan() {
		var c, data string
		if _, err := fmt.Sscan(lines.Text(), &c, &data); err != nil {
			t.Fatal(err)
		}
		if blocks[cid.MustParse(c)], err = base64.StdEncoding.DecodeString(data); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{}
	for nodes := 0; len(todo) > 0; nodes++ {
		c := todo[0]
		e, err := ad.DecodeEntries(c, blocks[c])
		if err != nil {
			t.Fatal(err)
		}
		if n := len(list(t, e.Multihashes)); n != e.Count {
			t.Errorf("%s: counts %d of %d", c, e.Count, n)
		}
		for _, mh := range list(t, e.Multihashes) {
			got[string(mh)] = true
		}
		todo = append(todo[1:], e.Links...)
		if nodes == len(blocks) {
			t.Fatal("more nodes than there are")
		}
	}
	for i := range 40 {
		if d := sha256.Sum256([]byte(fmt.Sprint(i))); !got["\x12\x20"+string(d[:])] {
			t.Errorf("%d is missing", i)
		}
	}
	if len(got) != 40 {
		t.Errorf("%d multihashes", len(got))
	}
}

// TestHAMTCodec re-encodes a node in dag-cbor, at a size near the largest.
func TestHAMTCodec(t *testing.T) {
	bucket := func(n int) string {
		var b strings.Builder
		for i, mh := range list(t, multihashes(n)) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString("[" + entry(string(mh)) + ",true]")
		}
		return b.String()
	}
	text := []byte(`{"bucketSize":3,"hamt":[` + entry("map") + `,[{"/":"` + named(t, cid.DagCBOR, nil).String() + `"},[` + bucket(56_000) + `]]],"hashAlg":34}`)
	node, err := dagjsonNode(text)
	if err != nil {
		t.Fatal(err)
	}
	var cbor bytes.Buffer
	if err := dagcbor.Encode(node, &cbor); err != nil {
		t.Fatal(err)
	}
	for codec, data := range map[uint64][]byte{cid.DagJSON: text, cid.DagCBOR: cbor.Bytes()} {
		e, err := ad.DecodeEntries(named(t, codec, data), data)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(e.Multihashes, multihashes(56_000)) || len(e.Links) != 1 {
			t.Errorf("codec %x: %d multihashes, links %v", codec, e.Count, e.Links)
		}
	}
}

// FuzzEntries compares with go-libipni: what one accepts the other accepts, with the
// same values. This package refuses more: multihashes that are malformed or above
// its limits, and empty chunks with a next one. It accepts more: nodes of a HAMT.
func FuzzEntries(f *testing.F) {
	next := named(f, cid.DagJSON, nil)
	for _, codec := range []uint64{cid.DagJSON, cid.DagCBOR} {
		_, data := rawChunk(f, codec, next, list(f, odd())...)
		f.Add(data, codec == cid.DagCBOR)
		_, data = rawChunk(f, codec, cid.Undef, list(f, multihashes(2))...)
		f.Add(data, codec == cid.DagCBOR)
	}
	f.Add([]byte(`{"Entries":[`+entry("\x00\x00")+`]}`), false)
	f.Add([]byte(`{"Entries":[{"/":{"bytes":"AA`+"\n"+`A"}}]}`), false)
	f.Add([]byte(`{"Entries":[{"/":{"bytes":"`+base64.RawStdEncoding.EncodeToString(append([]byte{0, 31}, make([]byte, 31)...))+"\n"+`"}}]}`), false)
	f.Add([]byte(`{"Entries":[],"Next":{"/":"QmQzqxhK82kAmKvARFZSkUVS6fo9sySaiogAnx5EnZ6ZmC"}}`), false)
	f.Add([]byte(`[{"/":{"bytes":"yQ"}},[[[`+entry("\x00\x00")+`,true]],{"/":"`+next.String()+`"}]]`), false)
	f.Fuzz(func(t *testing.T, data []byte, cbor bool) {
		codec := uint64(cid.DagJSON)
		if cbor {
			codec = cid.DagCBOR
		}
		c := named(t, codec, data)
		got, err := ad.DecodeEntries(c, data)
		if err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Fatalf("the error matches nothing: %v", err)
		}
		want, theirs := oracle.BytesToEntryChunk(c, data)
		if theirs != nil {
			if err == nil && !isHAMT(c, data) {
				t.Errorf("accepted what go-libipni refuses: %v", theirs)
			}
			return
		}
		if !within(want, data) {
			return
		}
		if err != nil {
			t.Fatalf("refused what go-libipni accepts: %v", err)
		}
		var all []byte
		for _, mh := range want.Entries {
			all = append(all, mh...)
		}
		if !bytes.Equal(all, got.Multihashes) || got.Count != len(want.Entries) {
			t.Errorf("%d multihashes %x, want %d, %x", got.Count, got.Multihashes, len(want.Entries), all)
		}
		if (want.Next != nil) != (len(got.Links) == 1) || want.Next != nil && want.Next.(cidlink.Link).Cid != got.Links[0] {
			t.Errorf("links %v, want %v", got.Links, want.Next)
		}
	})
}

// isHAMT reports whether a block is a map or list that is no chunk, but well-formed.
func isHAMT(c cid.Cid, data []byte) bool {
	if c.Type() == cid.DagCBOR {
		return data[0]>>5 >= 4
	}
	node, err := dagjsonNode(data)
	return err == nil && node.Kind() != 0
}

// within reports whether a chunk keeps the limits in which this package is stricter.
func within(chunk oracle.EntryChunk, data []byte) bool {
	for _, mh := range chunk.Entries {
		n, _, err := multihash.MHFromBytes(mh)
		if err != nil || n != len(mh) || len(mh) > ad.MaxMultihash {
			return false
		}
	}
	longText := slices.ContainsFunc(strings.Split(string(data), `"`), func(s string) bool { return len(s) > 256 })
	return (chunk.Next == nil || len(chunk.Entries) > 0) && !longText
}

func BenchmarkDecodeEntries(b *testing.B) {
	const n = 16384
	mhs := multihashes(n)
	c, data, err := ad.EncodeChunk(mhs, named(b, cid.DagJSON, nil))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ad.DecodeEntries(c, data); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/multihash")
	})
	b.Run("go-libipni", func(b *testing.B) { // without the check of the CID
		for b.Loop() {
			if _, err := oracle.BytesToEntryChunk(c, data); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/multihash")
	})
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := ad.EncodeChunk(mhs, c); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/multihash")
	})
}

// The way through the library takes an allocation for each multihash, and more.
func TestFastPath(t *testing.T) {
	for _, next := range []cid.Cid{cid.Undef, named(t, cid.DagJSON, nil)} {
		c, data, err := ad.EncodeChunk(multihashes(1000), next)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(10, func() { _, _ = ad.DecodeEntries(c, data) }); n > 20 {
			t.Errorf("%v allocations for a canonical chunk of 1,000 multihashes", n)
		}
	}
}
