package layout

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
)

// tagged returns a segment with a record of each tag from from to to.
func tagged(t *testing.T, from, to valuestore.Tag) *File {
	t.Helper()
	w, err := segment.Create(filepath.Join(t.TempDir(), "x.seg"), 8, nil)
	if err != nil {
		t.Fatal(err)
	}
	var r segment.Record
	for tag := from; tag <= to; tag++ {
		binary.BigEndian.PutUint64(r.Key[:], uint64(tag)<<20)
		r.Head, r.Tag = segment.HeadOf((*dhash.Key)(&r.Key)), tag
		if err := w.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &File{Segment: s, Number: uint64(from), Bytes: s.Size(), Level: 1, Born: time.Now()}
}

// uncountedSegment returns f as a former version wrote segments of very many tags: it lists none.
func uncountedSegment(t *testing.T, f *File) *File {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	at := len(b) - 72
	binary.LittleEndian.PutUint64(b[at+40:], ^uint64(0))
	sum := crc32.Update(uint32(at), crc32.MakeTable(crc32.Castagnoli), b[at:len(b)-4])
	binary.LittleEndian.PutUint32(b[len(b)-4:], sum)
	name := filepath.Join(t.TempDir(), "y.seg")
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := segment.Open(name, 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &File{Segment: s, Number: f.Number, Bytes: s.Size(), Level: 1}
}

// counting counts reads.
type counting int

func (c *counting) read(int64) error { *c++; return nil }

func (l *Layout) remove(from, to valuestore.Tag) {
	var tags []valuestore.Tag
	for tag := from; tag <= to; tag++ {
		tags = append(tags, tag)
	}
	l.Gen++
	l.Removed = l.Removed.Add(tags, l.Gen)
}

// TestCountUncounted wants one removal not to make everything dead of which nobody knows the tags, and very many
// to do so.
func TestCountUncounted(t *testing.T) {
	l := Layout{Parts: []Part{{Runs: []*File{uncountedSegment(t, tagged(t, 1, 1000))}}}}
	var c counting
	l.remove(5, 5)
	if err := l.Count(c.read); err != nil {
		t.Fatal(err)
	}
	if i := l.MostlyDead(0, none); i != -1 {
		t.Errorf("one removal makes partition %d dead", i)
	}
	if _, after := l.Needed(); after != 0 {
		t.Errorf("tags are forgotten up to %d", after)
	}
	l.remove(10, 10+uncounted/2)
	if err := l.Count(c.read); err != nil {
		t.Fatal(err)
	}
	if i := l.MostlyDead(0, none); i != 0 {
		t.Errorf("partition %d", i)
	}
}

// TestCountSample has a segment with more tags than it lists.
func TestCountSample(t *testing.T) {
	const n = 1<<20 + 1<<18
	l := Layout{Parts: []Part{{Runs: []*File{tagged(t, 1, n)}}}}
	var c counting
	for _, step := range []struct {
		to   valuestore.Tag
		dead int
	}{{1, -1}, {n / 5, -1}, {n / 3, 0}} {
		l.remove(1, step.to)
		if err := l.Count(c.read); err != nil {
			t.Fatal(err)
		}
		if i := l.MostlyDead(0, none); i != step.dead {
			t.Errorf("%d of %d tags are removed: partition %d is dead", step.to, n, i)
		}
		if _, after := l.Needed(); after != 0 {
			t.Error("tags are forgotten that are not known to be gone")
		}
	}
}

// TestCountAgain wants tags to be read again only where removed ones may be among them.
func TestCountAgain(t *testing.T) {
	l := Layout{Parts: []Part{{Runs: []*File{tagged(t, 1, 1000)}}, {Runs: []*File{tagged(t, 2000, 3000)}}}}
	reads := func(want counting) {
		t.Helper()
		var c counting
		if err := l.Count(c.read); err != nil {
			t.Fatal(err)
		}
		if c != want {
			t.Errorf("%d segments are read, want %d", c, want)
		}
	}
	l.remove(5, 6)
	reads(2)
	reads(0)
	for i := range valuestore.Tag(50) {
		l.remove(5000+i, 5000+i)
		reads(0)
	}
	l.remove(2500, 2600)
	reads(1)
	needed, after := l.Needed()
	l.Removed = l.Removed.Keep(after, needed)
	if l.Removed.Len() != 103 || !l.Removed.Has(5) || !l.Removed.Has(2600) || l.Removed.Has(5003) {
		t.Errorf("remembered: %v", l.Removed.Spans())
	}
	l.remove(1, 1)
	busy := errors.New("busy")
	if err := l.Count(func(int64) error { return busy }); err != busy {
		t.Errorf("%v", err)
	}
	reads(1)
}

// TestTurns wants each partition to have its turn, but for those that are skipped.
func TestTurns(t *testing.T) {
	l := Layout{Parts: make([]Part, 4)}
	for i := range l.Parts {
		l.Parts[i].Runs = []*File{tagged(t, 1, 100)}
	}
	l.remove(1, 60)
	var c counting
	if err := l.Count(c.read); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if got := l.MostlyDead(i, none); got != i {
			t.Errorf("from %d: %d", i, got)
		}
		if got := l.MostlyDead(i, func(p int) bool { return p == i }); got != (i+1)%4 {
			t.Errorf("from %d without it: %d", i, got)
		}
	}
	if got := l.Oldest(time.Now().Add(-time.Hour), none); got != -1 {
		t.Errorf("partition %d is old", got)
	}
	l.Parts[2].Runs[0].Born = time.Now().Add(-2 * time.Hour)
	if got := l.Oldest(time.Now().Add(-time.Hour), none); got != 2 {
		t.Errorf("partition %d is the oldest", got)
	}
	whole, single := l.Whole(1), l.Rewrites(1)
	if got := l.Need(whole); got > whole.Inputs[0].Bytes/2 || len(single) != 1 {
		t.Errorf("%d bytes of %d are needed", got, whole.Inputs[0].Bytes)
	}
}

// TestCountDamage goes on with other segments.
func TestCountDamage(t *testing.T) {
	bad := tagged(t, 1, 100)
	l := Layout{Parts: []Part{{Runs: []*File{bad, tagged(t, 1, 100)}}}}
	b, err := os.ReadFile(bad.Name())
	if err != nil {
		t.Fatal(err)
	}
	for i := len(b) - 72 - int(bad.TagBytes()); i < len(b)-72; i++ {
		b[i] = 0xff
	}
	if err := os.WriteFile(bad.Name(), b, 0o644); err != nil {
		t.Fatal(err)
	}
	l.remove(1, 90)
	var c counting
	if err := l.Count(c.read); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("%v", err)
	}
	if i := l.MostlyDead(0, none); i != 0 {
		t.Error("the whole segment is not counted")
	}
	if _, after := l.Needed(); after != 0 {
		t.Error("tags are forgotten that are not known to be gone")
	}
}
