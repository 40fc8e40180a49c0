package oplog

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

func numbered(n, size int) (records valuestore.Records) {
	for i := range n {
		records = records.Append(dhash.Key{byte(i), byte(i >> 8)}, make([]byte, size))
	}
	return records
}

// TestSplit cuts records into pieces that are no larger than they may be, and whole.
func TestSplit(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 1000, valuestore.MaxValue} {
		records := numbered(50_000, size)
		pieces, err := Split(records)
		if err != nil {
			t.Fatal(err)
		}
		var all valuestore.Records
		for _, p := range pieces {
			if _, err := p.Check(); err != nil || len(p) > PieceSize || len(p) == 0 {
				t.Errorf("values of %d bytes: a piece of %d bytes, %v", size, len(p), err)
			}
			all = append(all, p...)
		}
		if !bytes.Equal(all, records) {
			t.Errorf("values of %d bytes: the pieces are something else", size)
		}
	}
	if _, err := Split(numbered(3, 9)[:100]); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("malformed records: %v", err)
	}
}

func anyKind(Kind) bool { return true }

// TestTake wants deletes to stand before puts that wait with them: a put that is acknowledged
// with a delete, or later, stays.
func TestTake(t *testing.T) {
	q := NewQueue()
	for i, k := range []Kind{Put, Delete, Put, Remove, Flush, Delete} {
		q.waiting = append(q.waiting, &Operation{Kind: k, Tag: valuestore.Tag(i)})
	}
	var got []valuestore.Tag
	for _, o := range q.Take(anyKind) {
		got = append(got, o.Tag)
	}
	if want := []valuestore.Tag{4, 3, 1, 5, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if !q.Empty() {
		t.Error("something is left")
	}
}

// TestTakePieces has deletes that come while a put of several pieces is written: they are taken when all of it is, so that
// none is acknowledged with the put and has won over its first piece.
func TestTakePieces(t *testing.T) {
	q := NewQueue()
	piece := numbered(900, 1000)
	for _, o := range []struct {
		k    Kind
		rest bool
	}{{Delete, false}, {Put, false}, {Put, true}, {Delete, false}, {Put, false}, {Delete, false}, {Remove, false}} {
		q.waiting = append(q.waiting, &Operation{Kind: o.k, Tag: valuestore.Tag(len(q.waiting)), Records: piece, rest: o.rest})
	}
	var got [][]valuestore.Tag
	for !q.Empty() {
		var tags []valuestore.Tag
		for _, o := range q.Take(anyKind) {
			tags = append(tags, o.Tag)
		}
		got = append(got, tags)
	}
	if want := [][]valuestore.Tag{{0, 1, 2}, {6, 3, 5, 4}}; !cmp.Equal(got, want) {
		t.Errorf("groups %v, want %v", got, want)
	}
}

// TestTakeSome takes removals only, and leaves the others in their order.
func TestTakeSome(t *testing.T) {
	q := NewQueue()
	for i, k := range []Kind{Put, Remove, Delete, Flush, Remove} {
		q.waiting = append(q.waiting, &Operation{Kind: k, Tag: valuestore.Tag(i), done: make(chan error, 1)})
	}
	if got := q.Take(func(k Kind) bool { return k == Remove }); len(got) != 2 || got[0].Tag != 1 || got[1].Tag != 4 {
		t.Errorf("%v", got)
	}
	put := q.waiting[0]
	q.Fail(fs.ErrClosed, func(k Kind) bool { return k == Put })
	if err := <-put.done; err != fs.ErrClosed {
		t.Error(err)
	}
	if got := q.Take(anyKind); len(got) != 2 || got[0].Kind != Flush || got[1].Kind != Delete {
		t.Errorf("%v", got)
	}
}

// FuzzOperations decodes frames of logs.
func FuzzOperations(f *testing.F) {
	put := (&Operation{Kind: Put, Tag: 5, Records: numbered(3, 9)}).Append(nil)
	f.Add(put)
	f.Add((&Operation{Kind: Remove, Tags: []valuestore.Tag{1, 2, valuestore.MaxTag}}).Append(bytes.Clone(put)))
	f.Add([]byte{byte(Flush), 0, 0})
	f.Add([]byte{byte(Remove), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := Decode(b)
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Fatal(err)
			}
			return
		}
		var again []byte
		for _, o := range all {
			again = o.Append(again)
		}
		back, err := Decode(again)
		if err != nil || len(back) != len(all) {
			t.Fatal(err)
		}
		for i, o := range all {
			if p := back[i]; p.Kind != o.Kind || p.Tag != o.Tag || !bytes.Equal(p.Records, o.Records) || !slices.Equal(p.Tags, o.Tags) {
				t.Fatalf("operation %d differs", i)
			}
		}
	})
}
