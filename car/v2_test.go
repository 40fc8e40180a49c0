package car_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"testing"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// v2 frames inner as a CARv2 with fields that tests bend.
func v2(data, size, index uint64, rest ...byte) []byte {
	b := []byte("\x0a\xa1\x67version\x02")
	b = append(b, make([]byte, 16)...)
	for _, n := range []uint64{data, size, index} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return append(b, rest...)
}

func TestMalformedV2(t *testing.T) {
	inner := encode(t, nil, blocksOf(t, 10, 20)...)
	n := uint64(len(inner))
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"good, no index", v2(51, n, 0, inner...), nil},
		{"good, with something as index", v2(51, n, 51+n, append(bytes.Clone(inner), 1)...), nil},
		{"pragma alone", v2(0, 0, 0)[:11], car.ErrTruncated},
		{"half a header", v2(51, n, 0)[:40], car.ErrTruncated},
		{"never finished", v2(0, 0, 0, inner...), car.ErrMalformed},
		{"data in the header", v2(50, n, 0, inner...), car.ErrMalformed},
		{"negative data offset", v2(math.MaxUint64, n, 0, inner...), car.ErrMalformed},
		{"no data", v2(51, 0, 0, inner...), car.ErrMalformed},
		{"data size overflows", v2(51, math.MaxUint64-20, 0, inner...), car.ErrMalformed},
		{"index in the data", v2(51, n, 51+n-1, inner...), car.ErrMalformed},
		{"negative index offset", v2(51, n, math.MaxUint64, inner...), car.ErrMalformed},
		{"data ends after the file", v2(51, n+1, 0, inner...), car.ErrTruncated},
		{"data begins after the file", v2(5000, n, 0, inner...), car.ErrTruncated},
		{"section ends after the data", v2(51, n-1, 51+n, inner...), car.ErrTruncated},
		{"window cuts a varint", v2(51, 19, 0, append(car.AppendHeader(nil), 0x80, 0x01)...), car.ErrTruncated},
		{"window shorter than the header", v2(51, 5, 0, inner...), car.ErrTruncated},
		{"bytes after the data", v2(51, n, 0, append(bytes.Clone(inner), 1)...), car.ErrMalformed},
		{"index after the file", v2(51, n, 51+n, inner...), car.ErrTruncated},
		{"pragma in the place of the inner header", v2(51, 11, 0, v2(0, 0, 0)[:11]...), car.ErrMalformed},
		{"CARv2 inside", v2(51, n+51, 0, v2(51, n, 0, inner...)...), car.ErrMalformed},
	}
	for _, test := range tests {
		for name, r := range map[string]io.Reader{
			"seeker": bytes.NewReader(test.in), "stream": stream{bytes.NewReader(test.in)},
		} {
			if _, err := skipAll(r); !errors.Is(err, test.want) {
				t.Errorf("%s (%s): %v, want %v", test.name, name, err, test.want)
			}
		}
	}
}

// encodeIndex writes an index as go-car does: the inverse of ReadIndex, for tests.
func encodeIndex(codec uint64, base int64, entries []car.IndexEntry) []byte {
	b := binary.AppendUvarint(nil, codec)
	if codec == car.IndexSorted {
		return appendWidths(b, base, entries)
	}
	groups := split(entries, func(e car.IndexEntry) uint64 { return uint64(e.Code) })
	b = binary.LittleEndian.AppendUint32(b, uint32(len(groups)))
	for _, group := range groups {
		b = binary.LittleEndian.AppendUint64(b, uint64(group[0].Code))
		b = appendWidths(b, base, group)
	}
	return b
}

func appendWidths(b []byte, base int64, entries []car.IndexEntry) []byte {
	groups := split(entries, func(e car.IndexEntry) uint64 { return uint64(len(e.Value)) })
	b = binary.LittleEndian.AppendUint32(b, uint32(len(groups)))
	for _, group := range groups {
		width := len(group[0].Value) + 8
		b = binary.LittleEndian.AppendUint32(b, uint32(width))
		b = binary.LittleEndian.AppendUint64(b, uint64(width*len(group)))
		for _, e := range group {
			b = append(b, e.Value...)
			b = binary.LittleEndian.AppendUint64(b, uint64(e.Offset-base))
		}
	}
	return b
}

func split(entries []car.IndexEntry, key func(car.IndexEntry) uint64) [][]car.IndexEntry {
	var groups [][]car.IndexEntry
	for i, e := range entries {
		if i == 0 || key(e) != key(entries[i-1]) {
			groups = append(groups, nil)
		}
		last := &groups[len(groups)-1]
		*last = append(*last, e)
	}
	return groups
}

func collect(raw []byte) ([]car.IndexEntry, error) {
	var all []car.IndexEntry
	for e, err := range car.ReadIndex(bytes.NewReader(raw), int64(len(raw))) {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

func TestIndexIsGivenBack(t *testing.T) {
	for name, raw := range goFiles(t, mixed(t)) {
		entries, err := collect(raw)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		base := int64(binary.LittleEndian.Uint64(raw[27:]))
		old := raw[binary.LittleEndian.Uint64(raw[43:]):]
		codec, _ := binary.Uvarint(old)
		if again := encodeIndex(codec, base, entries); !bytes.Equal(again, old) {
			t.Errorf("%s: index of %d bytes comes back as %d bytes", name, len(old), len(again))
		}
	}
}

func TestMalformedIndex(t *testing.T) {
	inner := encode(t, nil, blocksOf(t, 10, 20)...)
	n := uint64(len(inner))
	le := binary.LittleEndian
	entry := func(value byte, offset uint64) []byte {
		return le.AppendUint64(bytes.Repeat([]byte{value}, 32), offset)
	}
	width := func(width uint32, total uint64, entries ...[]byte) []byte {
		return append(le.AppendUint64(le.AppendUint32(nil, width), total), bytes.Join(entries, nil)...)
	}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	sorted, coded := []byte{0x80, 0x08}, []byte{0x81, 0x08}
	count := func(n uint32) []byte { return le.AppendUint32(nil, n) }
	code := func(n uint64) []byte { return le.AppendUint64(nil, n) }
	good := width(40, 80, entry(1, 20), entry(2, 30))
	tests := []struct {
		name  string
		index []byte
		want  error
	}{
		{"good", cat(sorted, count(1), good), nil},
		{"good, coded", cat(coded, count(1), code(18), count(1), good), nil},
		{"empty", cat(sorted, count(0)), nil},
		{"two of one hash", cat(sorted, count(1), width(40, 80, entry(1, 30), entry(1, 20))), nil},
		{"nothing", nil, car.ErrTruncated},
		{"half a codec", sorted[:1], car.ErrTruncated},
		{"unknown codec", []byte{0x82, 0x08}, errors.ErrUnsupported},
		{"no count", sorted, car.ErrTruncated},
		{"negative count", cat(sorted, count(math.MaxUint32)), car.ErrMalformed},
		{"huge count", cat(sorted, count(math.MaxInt32)), car.ErrTruncated},
		{"negative count of codes", cat(coded, count(math.MaxUint32)), car.ErrMalformed},
		{"width below 8", cat(sorted, count(1), width(7, 7, make([]byte, 7))), car.ErrMalformed},
		{"huge width", cat(sorted, count(1), width(1<<31, 0)), car.ErrMalformed},
		{"lying length", cat(sorted, count(1), width(40, 1<<62, entry(1, 20))), car.ErrTruncated},
		{"negative length", cat(sorted, count(1), width(40, math.MaxUint64, entry(1, 20))), car.ErrTruncated},
		{"half an entry", cat(sorted, count(1), width(40, 79, entry(1, 20), entry(2, 30))), car.ErrMalformed},
		{"widths not ordered", cat(sorted, count(2), good, good), car.ErrMalformed},
		{"codes not ordered", cat(coded, count(2), code(18), count(1), good, code(18), count(1), good), car.ErrMalformed},
		{"code without entries", cat(coded, count(1), code(18), count(0)), car.ErrMalformed},
		{"width without entries", cat(sorted, count(1), width(40, 0)), car.ErrMalformed},
		{"values not ordered", cat(sorted, count(1), width(40, 80, entry(2, 20), entry(1, 30))), car.ErrMalformed},
		{"offset outside of the data", cat(sorted, count(1), width(40, 40, entry(1, n))), car.ErrMalformed},
		{"negative offset", cat(sorted, count(1), width(40, 40, entry(1, math.MaxUint64))), car.ErrMalformed},
		{"bytes after the index", cat(sorted, count(1), good, []byte{0}), car.ErrMalformed},
	}
	for _, test := range tests {
		raw := v2(51, n, 51+n, cat(inner, test.index)...)
		if _, err := collect(raw); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestNoIndex(t *testing.T) {
	inner := encode(t, nil, blocksOf(t, 10)...)
	whole := v2(51, uint64(len(inner)), 51+uint64(len(inner)), append(bytes.Clone(inner), 0x80, 0x08, 0, 0, 0, 0)...)
	for name, test := range map[string]struct {
		in   []byte
		want error
	}{
		"empty file":      {nil, fs.ErrNotExist},
		"CARv1":           {inner, fs.ErrNotExist},
		"v2 without":      {v2(51, uint64(len(inner)), 0, inner...), fs.ErrNotExist},
		"cut header":      {whole[:30], car.ErrTruncated},
		"cut data":        {whole[:80], car.ErrTruncated},
		"cut index":       {whole[:len(whole)-1], car.ErrTruncated},
		"whole and empty": {whole, nil},
	} {
		if got, err := collect(test.in); !errors.Is(err, test.want) || len(got) != 0 {
			t.Errorf("%s: %v, %v; want %v", name, got, err, test.want)
		}
	}
}

func TestReadIndexStopsWhenTold(t *testing.T) {
	raw := goFiles(t, mixed(t))["wrapped v2"]
	n := 0
	for _, err := range car.ReadIndex(bytes.NewReader(raw), int64(len(raw))) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d entries before the break", n)
	}
}

func TestEntryMatches(t *testing.T) {
	d, err := digest.Sum(digest.SHA256, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := digest.Sum(digest.SHA256, []byte("y"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		e    car.IndexEntry
		want bool
	}{
		{car.IndexEntry{Value: d.Value()}, true},
		{car.IndexEntry{Value: d.Value(), Coded: true, Code: digest.SHA256}, true},
		{car.IndexEntry{Value: d.Value(), Coded: true, Code: digest.BLAKE3}, false},
		{car.IndexEntry{Value: other.Value()}, false},
	} {
		if got := test.e.Matches(d); got != test.want {
			t.Errorf("%+v: %v", test.e, got)
		}
	}
}

// TestSectionAt compares with the sequential reader, and refuses every wrong place.
func TestSectionAt(t *testing.T) {
	blocks := blocksOf(t, 10, 0, 300, 70_000)
	raw := encode(t, nil, blocks...)
	sections, err := skipAll(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r, size := bytes.NewReader(raw), int64(len(raw))
	for i, want := range sections {
		off := want.Offset - car.HeadSize(want.CID, want.Size)
		got, err := car.SectionAt(r, off, size)
		if err != nil || got != want {
			t.Errorf("section %d: %v, %v; want %v", i, got, err, want)
		}
		end := want.Offset + want.Size
		if _, err := car.SectionAt(r, off, end); err != nil {
			t.Errorf("section %d, exact end: %v", i, err)
		}
		if _, err := car.SectionAt(r, off, end-1); !errors.Is(err, car.ErrTruncated) {
			t.Errorf("section %d, early end: %v", i, err)
		}
	}
	for _, off := range []int64{-1, size, size + 1, math.MaxInt64} {
		if _, err := car.SectionAt(r, off, size); !errors.Is(err, car.ErrTruncated) {
			t.Errorf("at %d: %v", off, err)
		}
	}
	for _, bad := range []string{"\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x81\x00", "\x05hello"} {
		if _, err := car.SectionAt(bytes.NewReader([]byte(bad)), 0, int64(len(bad))); !errors.Is(err, car.ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := car.SectionAt(bytes.NewReader([]byte{0x80}), 0, 1); !errors.Is(err, car.ErrTruncated) {
		t.Errorf("half a varint: %v", err)
	}
}
