package car_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
	gocar "github.com/ipld/go-car/v2"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
)

// FuzzReader checks, for what the reader accepts: a CARv1 is given back byte for
// byte, skipping finds the same sections, seeking or not, and go-car agrees.
func FuzzReader(f *testing.F) {
	inner := encode(f, nil, blocksOf(f, 0, 5, 100)...)
	f.Add(inner)
	f.Add(encode(f, many(f, 3)))
	f.Add(v2(51, uint64(len(inner)), 0, inner...))
	f.Add(v2(53, uint64(len(inner)), 60+uint64(len(inner)), append(append([]byte{0, 0}, inner...), make([]byte, 9)...)...))
	f.Add([]byte("\x11\xa2\x65roots\xf6\x67version\x01"))
	f.Add(append(binary.AppendUvarint(car.AppendHeader(nil), 36+block.MaxSize+1), append(inner[len(inner)-136:], make([]byte, 500)...)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, all, err := readAll(stream{bytes.NewReader(raw)}, nil)
		heads, skipErr := skipAll(bytes.NewReader(raw))
		if errors.Is(err, block.ErrTooLarge) {
			return // skipping passes over such a block, or finds its end missing
		}
		if (err == nil) != (skipErr == nil) {
			t.Fatalf("read: %v; skip: %v", err, skipErr)
		}
		if err != nil {
			if !errors.Is(err, car.ErrMalformed) && !errors.Is(err, car.ErrTruncated) {
				t.Fatalf("error without kind: %v", err)
			}
			return
		}
		var sections []car.Section
		again := car.AppendHeader(nil, r.Roots()...)
		for _, s := range all {
			sections = append(sections, s.Section)
			again = append(car.AppendHead(again, s.CID, s.Size), s.Data...)
		}
		if diff := cmp.Diff(sections, heads, cidComparer); diff != "" {
			t.Fatal(diff)
		}
		null := bytes.Contains(raw, []byte("roots\xf6"))
		if r.Version() == 1 && !null && !bytes.Equal(again, raw) {
			t.Fatalf("got back\n%x, had\n%x", again, raw)
		}
		agree(t, raw, all)
	})
}

// agree reads raw with go-car, which must find the same.
func agree(t *testing.T, raw []byte, want []found) {
	r, err := gocar.NewBlockReader(bytes.NewReader(raw), gocar.WithTrustedCAR(true))
	if err != nil {
		t.Fatalf("go-car: %v", err)
	}
	for _, s := range want {
		b, err := r.Next()
		if err != nil || !b.Cid().Equals(s.CID) || !bytes.Equal(b.RawData(), s.Data) {
			t.Fatalf("go-car has %v, %v where we have %s", b, err, s.CID)
		}
	}
	if b, err := r.Next(); err != io.EOF {
		t.Fatalf("go-car goes on: %v, %v", b, err)
	}
}

// FuzzReadIndex checks that an accepted index is given back byte for byte.
func FuzzReadIndex(f *testing.F) {
	inner := encode(f, nil, blocksOf(f, 5, 100)...)
	n := uint64(len(inner))
	entries := []car.IndexEntry{
		{Code: 18, Coded: true, Value: []byte("abc"), Offset: 20 + 51},
		{Code: 18, Coded: true, Value: []byte("abd"), Offset: 19 + 51},
		{Code: 18, Coded: true, Value: []byte("abcd"), Offset: 19 + 51},
		{Code: 30, Coded: true, Value: []byte("abc"), Offset: 20 + 51},
	}
	f.Add(v2(51, n, 51+n, append(inner, encodeIndex(car.MultihashIndexSorted, 51, entries)...)...))
	f.Add(v2(51, n, 51+n, append(inner, encodeIndex(car.IndexSorted, 51, entries[:3])...)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := collect(raw)
		if err != nil {
			for _, known := range []error{car.ErrMalformed, car.ErrTruncated, fs.ErrNotExist, errors.ErrUnsupported} {
				if errors.Is(err, known) {
					return
				}
			}
			t.Fatalf("error without kind: %v", err)
		}
		base := int64(binary.LittleEndian.Uint64(raw[27:]))
		old := raw[binary.LittleEndian.Uint64(raw[43:]):]
		codec, _ := binary.Uvarint(old)
		if again := encodeIndex(codec, base, entries); !bytes.Equal(again, old) {
			t.Fatalf("got back\n%x, had\n%x", again, old)
		}
		for _, e := range entries {
			_, err := car.SectionAt(bytes.NewReader(raw), e.Offset, int64(len(raw)))
			if err != nil && !errors.Is(err, car.ErrMalformed) && !errors.Is(err, car.ErrTruncated) {
				t.Fatalf("error without kind: %v", err)
			}
		}
	})
}
