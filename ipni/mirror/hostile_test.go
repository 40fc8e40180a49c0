package mirror_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/mirror"
)

// mismatch wants an error of damage that names the object.
func mismatch(t testing.TB, err error, name string) {
	t.Helper()
	if !errors.Is(err, digest.ErrMismatch) || !strings.Contains(err.Error(), name) {
		t.Errorf("error %v, want one of %s that matches digest.ErrMismatch", err, name)
	}
}

func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	_, err := zip.Write(b)
	must(t, err)
	must(t, zip.Close())
	return buf.Bytes()
}

// section is a block with any CID.
func section(c cid.Cid, data []byte) []byte {
	return append(car.AppendHead(nil, c, int64(len(data))), data...)
}

// TestHostile damages an archive in many ways. Alone, the mirror gives an error that names the
// object; with a publisher behind it, the blocks are had all the same.
func TestHostile(t *testing.T) {
	p := newPublisher(1)
	other := p.put(t, "b", 5)
	id := p.put(t, "a", 50, 40)
	first, second := p.owner[id][0], p.owner[id][1]
	s := memblob.New()
	p.record(t, openWriter(t, s, &mirror.Options{Plain: true}))
	good := read(t, s, mirror.Name(id, false))
	v1 := func(parts ...[]byte) []byte {
		return slices.Concat(append([][]byte{car.AppendHeader(nil, id, first.CID)}, parts...)...)
	}
	adSection := section(id, p.Blocks()[id])
	firstSection := section(first.CID, first.Data)
	edit := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	u64 := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	for name, c := range map[string]struct {
		data   []byte
		adOnly bool // the advertisement can be read
	}{
		"empty":                    {},
		"text":                     {data: []byte("404 page not found")},
		"header only":              {data: v1()},
		"another advertisement":    {data: slices.Concat(car.AppendHeader(nil, other), section(other, p.Blocks()[other]))},
		"wrong first block":        {data: v1(firstSection, adSection)},
		"wrong bytes of the ad":    {data: v1(section(id, p.Blocks()[other]))},
		"huge header":              {data: []byte{0xff, 0xff, 0xff, 0xff, 0x7f, 0xa2}},
		"huge ad":                  {data: v1(section(id, make([]byte, ipni.MaxBlock+1)))},
		"never finished":           {data: edit(27, make([]byte, 24)...)},
		"data beyond the end":      {data: edit(35, u64(1<<40)...)},
		"truncated in the ad":      {data: good[:200]},
		"wrong bytes":              {data: v1(adSection, section(first.CID, second.Data), section(second.CID, first.Data)), adOnly: true},
		"truncated in the entries": {data: v1(adSection, firstSection[:100]), adOnly: true},
		"entries are missing":      {data: v1(adSection, section(second.CID, second.Data)), adOnly: true},
		"oversized entries":        {data: v1(adSection, section(first.CID, make([]byte, ipni.MaxBlock+1))), adOnly: true},
		"zeros":                    {data: v1(adSection, make([]byte, 1<<20)), adOnly: true},
		"huge section":             {data: v1(adSection, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}), adOnly: true},
	} {
		for _, compressed := range []bool{false, true} {
			data := c.data
			if compressed {
				data = zipped(t, data)
			}
			if name == "data beyond the end" && compressed {
				continue // it cannot be seen before the end
			}
			t.Run(name+map[bool]string{true: " zipped"}[compressed], func(t *testing.T) {
				hostile(t, p, id, mirror.Name(id, compressed), data, c.adOnly)
			})
		}
	}
	t.Run("truncated zip", func(t *testing.T) {
		z := zipped(t, good)
		hostile(t, p, id, mirror.Name(id, true), z[:len(z)/2], true)
	})
	t.Run("no zip", func(t *testing.T) { hostile(t, p, id, mirror.Name(id, true), good, false) })
	t.Run("empty zip", func(t *testing.T) { hostile(t, p, id, mirror.Name(id, true), nil, false) })
	t.Run("index to other blocks", func(t *testing.T) {
		i := bytes.LastIndex(good, first.CID.Hash()[2:])
		if i < len(good)-200 {
			t.Fatal("the index was not found")
		}
		hostile(t, p, id, mirror.Name(id, false), edit(i+32, u64(97)...), true)
	})
}

func hostile(t *testing.T, p *publisher, id cid.Cid, key string, data []byte, adOnly bool) {
	s := memblob.New()
	must(t, s.Put(t.Context(), key, bytes.NewReader(data)))
	must(t, s.Put(t.Context(), p.ID.String()+".head", strings.NewReader(id.String())))
	m := openMirror(t, s, nil)
	alone := m.Chain(p.ID, nil, mirror.Only)
	defer alone.Close()
	_, err := alone.Block(t.Context(), id, ipni.Advertisement)
	if adOnly {
		must(t, err)
		_, err = alone.Block(t.Context(), p.owner[id][0].CID, ipni.EntryChunk)
	}
	mismatch(t, err, key)
	for _, mode := range []mirror.Mode{mirror.First, mirror.Last} {
		c := m.Chain(p.ID, p, mode)
		if got := walk(t, c); got.mhs != 95 {
			t.Errorf("mode %d: %d multihashes", mode, got.mhs)
		}
		must(t, c.Close())
	}
}

// TestBomb reads what unpacks to more than is allowed.
func TestBomb(t *testing.T) {
	p := newPublisher(1)
	id := p.put(t, "a", 10)
	entries := p.owner[id][0]
	filler := make([]byte, 1<<20)
	d, err := digest.Sum(digest.SHA256, filler)
	must(t, err)
	bomb := slices.Concat(car.AppendHeader(nil, id, entries.CID), section(id, p.Blocks()[id]),
		bytes.Repeat(section(d.CID(cid.Raw), filler), 20), section(entries.CID, entries.Data))
	for _, o := range []*mirror.Options{{MaxSize: 10 << 20}, {MaxSize: 10 << 20, Plain: true}} {
		s := memblob.New()
		data := bomb
		if !o.Plain {
			data = zipped(t, bomb)
			if len(data) > 100<<10 {
				t.Fatalf("%d bytes are no bomb", len(data))
			}
		}
		must(t, s.Put(t.Context(), mirror.Name(id, !o.Plain), bytes.NewReader(data)))
		c := openMirror(t, s, o).Chain(p.ID, nil, mirror.Only)
		defer c.Close()
		_, err := c.Block(t.Context(), id, ipni.Advertisement)
		if err == nil {
			_, err = c.Block(t.Context(), entries.CID, ipni.EntryChunk)
		}
		mismatch(t, err, mirror.Name(id, !o.Plain))
	}
}

// TestRewinds asks for blocks in an order that makes a compressed archive be read again and
// again: that ends.
func TestRewinds(t *testing.T) {
	p := newPublisher(1)
	id := p.put(t, "a", 10, 10)
	front, back := p.owner[id][0], p.owner[id][1]
	parts := [][]byte{car.AppendHeader(nil, id, front.CID), section(id, p.Blocks()[id]), section(front.CID, front.Data)}
	for i := range byte(9) { // more than is held
		filler := make([]byte, ipni.MaxBlock)
		filler[0] = i
		d, err := digest.Sum(digest.SHA256, filler)
		must(t, err)
		parts = append(parts, section(d.CID(cid.Raw), filler))
	}
	s := memblob.New()
	must(t, s.Put(t.Context(), mirror.Name(id, true), bytes.NewReader(zipped(t, slices.Concat(append(parts, section(back.CID, back.Data))...)))))
	a, err := openMirror(t, s, nil).Archive(t.Context(), id)
	must(t, err)
	defer a.Close()
	for n := range 40 {
		if _, err = a.Block(t.Context(), []cid.Cid{front.CID, back.CID}[n%2]); err != nil {
			if n < 4 {
				t.Errorf("block %d: %v", n, err)
			}
			break
		}
	}
	mismatch(t, err, mirror.Name(id, true))
}

// TestSkipped reads an archive that was written without entries.
func TestSkipped(t *testing.T) {
	p := newPublisher(1)
	id := p.put(t, "a", 10)
	for _, plain := range []bool{false, true} {
		w := openWriter(t, memblob.New(), &mirror.Options{Plain: plain})
		must(t, w.Store(t.Context(), id, p.Blocks()[id], blocks(nil)))
		c := w.Chain(p.ID, nil, mirror.Only)
		defer c.Close()
		_, err := c.Block(t.Context(), id, ipni.Advertisement)
		must(t, err)
		if _, err := c.Block(t.Context(), p.owner[id][0].CID, ipni.EntryChunk); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, digest.ErrMismatch) {
			t.Errorf("entries that were left out: %v", err)
		}
	}
}

// FuzzArchive reads any bytes as an archive: what comes out hashes to what was asked for.
func FuzzArchive(f *testing.F) {
	p := newPublisher(1)
	id := p.put(f, "a", 3, 2)
	for _, plain := range []bool{false, true} {
		s := memblob.New()
		p.record(f, openWriter(f, s, &mirror.Options{Plain: plain}))
		f.Add(read(f, s, mirror.Name(id, !plain)), !plain)
	}
	f.Add(slices.Concat(car.AppendHeader(nil, id), section(id, p.Blocks()[id]), section(p.owner[id][1].CID, p.owner[id][1].Data)), false)
	f.Fuzz(func(t *testing.T, data []byte, compressed bool) {
		s := memblob.New()
		must(t, s.Put(t.Context(), mirror.Name(id, compressed), bytes.NewReader(data)))
		c := openMirror(t, s, &mirror.Options{MaxSize: 1 << 20}).Chain(p.ID, nil, mirror.Only)
		defer c.Close()
		b, err := c.Block(t.Context(), id, ipni.Advertisement)
		if err != nil {
			return
		}
		check := func(c cid.Cid, b []byte) {
			d, err := digest.FromCID(c)
			must(t, err)
			must(t, d.Verify(b))
		}
		check(id, b)
		for _, want := range slices.Backward(p.owner[id]) {
			if b, err := c.Block(t.Context(), want.CID, ipni.EntryChunk); err == nil {
				check(want.CID, b)
			}
		}
	})
}
