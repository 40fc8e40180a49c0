package car_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	gocar "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multicodec"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// sidecar is the index that go-car writes beside a CARv1.
func sidecar(t testing.TB, codec multicodec.Code, raw []byte) []byte {
	t.Helper()
	x, err := index.New(codec)
	if err == nil {
		err = gocar.LoadIndex(x, bytes.NewReader(raw))
	}
	var b bytes.Buffer
	if err == nil {
		_, err = index.WriteTo(x, &b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func entriesOf(raw []byte, dataSize int64) (all []car.IndexEntry, err error) {
	for e, err := range car.ReadSidecar(bytes.NewReader(raw), int64(len(raw)), dataSize) {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

func TestSidecarOfGoCar(t *testing.T) {
	raw := encode(t, nil, blocksOf(t, 9, 300, 1, 70_000, 12, 4000)...)
	for _, codec := range []multicodec.Code{multicodec.CarMultihashIndexSorted, multicodec.CarIndexSorted} {
		theirs := sidecar(t, codec, raw)
		entries, err := entriesOf(theirs, int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			s, err := car.SectionAt(bytes.NewReader(raw), e.Offset, int64(len(raw)))
			if err != nil {
				t.Fatal(err)
			}
			if d, err := digest.FromCID(s.CID); err != nil || !e.Matches(d) {
				t.Errorf("%s at %d is not that of the entry, %v", s.CID, e.Offset, err)
			}
		}
		if len(entries) != 6 {
			t.Errorf("%s: %d entries", codec, len(entries))
		}
		if codec == multicodec.CarIndexSorted {
			continue
		}
		if ours, err := car.AppendSidecar(nil, entries); err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("written as\n%x, %v, not\n%x", ours, err, theirs)
		}
	}
}

// TestGoCarReadsSidecar writes what go-car never does by itself: several hash functions and widths.
func TestGoCarReadsSidecar(t *testing.T) {
	want := []car.IndexEntry{
		{Code: 0x12, Coded: true, Value: bytes.Repeat([]byte{7}, 32), Offset: 99},
		{Code: 0x13, Coded: true, Value: bytes.Repeat([]byte{9}, 64), Offset: 5},
		{Code: 0x12, Coded: true, Value: bytes.Repeat([]byte{3}, 20), Offset: 1},
		{Code: 0x12, Coded: true, Value: bytes.Repeat([]byte{1}, 32), Offset: 2},
	}
	b, err := car.AppendSidecar(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := entriesOf(b, 100)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	x, err := index.ReadFrom(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if _, err := index.WriteTo(x, &again); err != nil || !bytes.Equal(again.Bytes(), b) {
		t.Errorf("go-car writes %x, %v, not %x", again.Bytes(), err, b)
	}
}

func TestSidecarRefuses(t *testing.T) {
	good, err := car.AppendSidecar(nil, []car.IndexEntry{{Code: 0x12, Coded: true, Value: make([]byte, 32), Offset: 50}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entriesOf(good, 51); err != nil {
		t.Fatal(err)
	}
	for n := range len(good) {
		if _, err := entriesOf(good[:n], 51); !errors.Is(err, car.ErrTruncated) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	if _, err := entriesOf(append(bytes.Clone(good), 0), 51); !errors.Is(err, car.ErrMalformed) {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := entriesOf(good, 50); !errors.Is(err, car.ErrMalformed) {
		t.Errorf("an offset after the end: %v", err)
	}
	if _, err := entriesOf(binary.AppendUvarint(nil, 0x300003), 50); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("another codec: %v", err)
	}
	for _, e := range []car.IndexEntry{{Value: make([]byte, 32)}, {Coded: true, Offset: -1}, {Coded: true, Value: make([]byte, 200)}} {
		if _, err := car.AppendSidecar(nil, []car.IndexEntry{e}); !errors.Is(err, car.ErrMalformed) {
			t.Errorf("%+v is written: %v", e, err)
		}
	}
}

func FuzzReadSidecar(f *testing.F) {
	raw := encode(f, nil, blocksOf(f, 5, 100)...)
	f.Add(sidecar(f, multicodec.CarMultihashIndexSorted, raw), int64(len(raw)))
	f.Add(sidecar(f, multicodec.CarIndexSorted, raw), int64(len(raw)))
	f.Fuzz(func(t *testing.T, b []byte, dataSize int64) {
		entries, err := entriesOf(b, dataSize)
		switch {
		case err == nil && len(entries) > 0 && entries[0].Coded:
			if again := encodeIndex(car.MultihashIndexSorted, 0, entries); !bytes.Equal(again, b) {
				t.Errorf("%x is written as %x", b, again)
			}
		case err != nil && !errors.Is(err, car.ErrMalformed) && !errors.Is(err, car.ErrTruncated) && !errors.Is(err, errors.ErrUnsupported):
			t.Errorf("error without kind: %v", err)
		}
	})
}
