package index

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
)

func sampleSegment() *Segment {
	raw, _ := digest.Sum(digest.SHA256, []byte("leaf"))
	pb, _ := digest.Sum(digest.SHA256, []byte("node"))
	inline, _ := digest.Sum(digest.Identity, []byte("hi"))
	v0 := cid.NewCidV0(pb.Bytes()).KeyString()
	leaf := raw.CID(cid.Raw).KeyString()
	return &Segment{
		Number:    2,
		Position:  77,
		Ancestors: []int64{0, 5, 2047},
		Sources:   []ref{{1}, {2}},
		Entries: []Entry{
			{Depth: 3, Source: 0, Offset: 500, Size: 20, First: -1, Framed: true, Entity: true, cid: v0},
			{Depth: 4, Source: 0, Offset: 520 + 37, Size: 4, FileBytes: 4, First: -1, Framed: true, cid: leaf},
			{Depth: 4, Source: -1, Size: 4, FileBytes: 4, First: 2049, Framed: true, cid: leaf},
			{Depth: 4, Source: -1, Size: 2, FileBytes: 2, First: -1, Framed: true, cid: inline.CID(cid.Raw).KeyString()},
			{Depth: 3, Source: 1, Offset: 9, Size: 20, FileBytes: 6, First: -1, cid: pb.CID(cid.DagProtobuf).KeyString()},
		},
	}
}

func TestSegmentRoundTrip(t *testing.T) {
	want := sampleSegment()
	got, err := decodeSegment(2, want.encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Entry{}), cmpopts.IgnoreUnexported(Segment{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStretch(t *testing.T) {
	s, err := decodeSegment(2, sampleSegment().encode())
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for i := range s.Entries {
		got = append(got, s.Stretch(i))
	}
	// Two sections together; a duplicate, an inline block, and one without a frame.
	if diff := cmp.Diff([]int{2, 2, 2, 3, 4}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzDecodeSegment(f *testing.F) {
	f.Add(sampleSegment().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSegment(2, b)
		if err != nil {
			return
		}
		if again := s.encode(); !bytes.Equal(again, b) {
			t.Errorf("%x encodes as %x", b, again)
		}
		for i := range s.Entries {
			for j := i + 1; j < s.Stretch(i); j++ {
				if e, before := &s.Entries[j], &s.Entries[j-1]; e.Source != before.Source || e.Start() != before.End() {
					t.Errorf("entry %d of %x does not stand after the one before", j, b)
				}
			}
		}
	})
}

func FuzzDecodeRecords(f *testing.F) {
	d, _ := digest.Sum(digest.SHA256, nil)
	f.Add(place{1, 1 << 40}.encode())
	f.Add(containing{count: 9}.encode())
	f.Add(Location{Pack: d}.Encode())
	f.Add(Location{Path: "a/b"}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodePlace(b); err == nil && !bytes.Equal(p.encode(), b) {
			t.Errorf("place %x encodes as %x", b, p.encode())
		}
		if c, err := decodeContaining(b); err == nil && !bytes.Equal(c.encode(), b) {
			t.Errorf("containing %x encodes as %x", b, c.encode())
		}
		if l, err := ParseLocation(b); err == nil && !bytes.Equal(l.Encode(), b) {
			t.Errorf("location %x encodes as %x", b, l.Encode())
		}
	})
}
