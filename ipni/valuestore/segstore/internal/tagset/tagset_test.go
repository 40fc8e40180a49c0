package tagset

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

func content(spans []Span) map[valuestore.Tag]uint64 {
	all := map[valuestore.Tag]uint64{}
	for _, s := range spans {
		for tag := s.From; tag <= s.To; tag++ {
			all[tag] = s.Gen
		}
	}
	return all
}

// ordered wants spans to be in order, and none to go on with the one before it.
func ordered(t *testing.T, spans []Span) {
	t.Helper()
	for i, s := range spans {
		if s.From > s.To || i > 0 && (s.From <= spans[i-1].To || s.From == spans[i-1].To+1 && s.Gen == spans[i-1].Gen) {
			t.Fatalf("span %d is out of order: %v", i, spans)
		}
	}
}

// TestModel adds and keeps tags, and compares with a map.
func TestModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	for round := range 60 {
		var s *Set
		model := map[valuestore.Tag]uint64{}
		width := []int{40, 400, 1 << 30}[round%3]
		for gen := range uint64(60) {
			var tags []valuestore.Tag
			from := rng.IntN(width)
			for i := range rng.IntN(12) {
				tag := valuestore.Tag(1 + from + i)
				if rng.IntN(3) == 0 {
					tag = valuestore.Tag(1 + rng.IntN(width))
				}
				tags = append(tags, tag)
				model[tag] = gen + 1
			}
			s = s.Add(tags, gen+1)
			ordered(t, s.Spans())
			if diff := cmp.Diff(model, content(s.Spans())); diff != "" {
				t.Fatal(diff)
			}
			for tag := range valuestore.Tag(min(width, 60)) {
				if _, want := model[tag]; s.Has(tag) != want || s.Flat().Has(tag) != want {
					t.Fatalf("tag %d: %v", tag, !want)
				}
			}
			back, err := Parse(s.Encode())
			if err != nil || !cmp.Equal(content(s.Spans()), content(back.Spans())) || !bytes.Equal(back.Encode(), s.Encode()) {
				t.Fatalf("%v is read as %v, %v", s.Spans(), back.Spans(), err)
			}
			since, late := uint64(rng.IntN(60)), map[valuestore.Tag]uint64{}
			for tag, gen := range model {
				if gen > since {
					late[tag] = gen
				}
			}
			if diff := cmp.Diff(late, content(s.Since(since))); diff != "" {
				t.Fatalf("since %d: %s", since, diff)
			}
			if rng.IntN(10) > 0 {
				continue
			}
			var needed Cover
			for tag := range valuestore.Tag(width % 1000) {
				if rng.IntN(4) == 0 {
					needed.Add(tag)
				}
			}
			wanted := content(needed.Spans())
			for tag, gen := range model {
				if _, there := wanted[tag]; !there && gen <= since {
					delete(model, tag)
				}
			}
			s = s.Keep(since, needed.Spans())
		}
		if diff := cmp.Diff(model, content(FromMap(model).Spans())); diff != "" {
			t.Fatal(diff)
		}
	}
}

// TestRuns wants few runs, of which a lookup looks into each.
func TestRuns(t *testing.T) {
	var s *Set
	for i := range 5000 {
		s = s.Add([]valuestore.Tag{valuestore.Tag(1 + i*7919%5003*10)}, uint64(i))
		if len(s.runs) > 9 {
			t.Fatalf("%d tags in %d runs", i+1, len(s.runs))
		}
	}
	if s.Len() != 5000 || s.Size() != 5000 {
		t.Errorf("%d tags, %d spans", s.Len(), s.Size())
	}
	s = nil
	for i := range valuestore.Tag(5000) {
		s = s.Add([]valuestore.Tag{i + 1}, 7)
	}
	if s.Flat().Size() != 1 {
		t.Errorf("neighbours take %d spans", s.Flat().Size())
	}
}

// TestCover wants all tags to be covered, by few spans, and exactly if that goes.
func TestCover(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	for _, n := range []int{1, 500, 512, 513, 20_000} {
		var c Cover
		var tags []valuestore.Tag
		for i, tag := 0, valuestore.Tag(0); i < n; i++ {
			tag += valuestore.Tag(2 + rng.IntN(1<<rng.IntN(20)))
			c.Add(tag)
			tags = append(tags, tag)
		}
		if len(c.Spans()) > coverMost || n <= coverMost && len(c.Spans()) != n {
			t.Errorf("%d tags in %d spans", n, len(c.Spans()))
		}
		ordered(t, c.Spans())
		for _, tag := range tags {
			if _, ok := find(c.Spans(), tag); !ok {
				t.Fatalf("%d of %d tags is not covered", tag, n)
			}
		}
	}
}

func TestOverlap(t *testing.T) {
	a := []Span{{From: 3, To: 5}, {From: 9, To: 9}}
	for _, c := range []struct {
		from, to valuestore.Tag
		want     bool
	}{{1, 2, false}, {1, 3, true}, {5, 8, true}, {6, 8, false}, {6, 20, true}, {9, 9, true}, {10, 11, false}} {
		b := []Span{{From: c.from, To: c.to}}
		if Overlap(a, b) != c.want || Overlap(b, a) != c.want {
			t.Errorf("%d to %d: %v", c.from, c.to, !c.want)
		}
	}
	if got, want := Union(a, []Span{{From: 6, To: 7, Gen: 3}, {From: 1, To: 1}}), []Span{{From: 1, To: 1}, {From: 3, To: 7}, {From: 9, To: 9}}; !cmp.Equal(got, want) {
		t.Errorf("union %v", got)
	}
}

// FuzzParse parses files: what is taken is what would be written.
func FuzzParse(f *testing.F) {
	f.Add((*Set)(nil).Encode())
	f.Add((*Set)(nil).Add([]valuestore.Tag{3, 4, 5, 9, valuestore.MaxTag}, 3).Add([]valuestore.Tag{4}, 9).Encode())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4 {
			b = seal(b[:len(b)-4])
		}
		s, err := Parse(b)
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Fatal(err)
			}
			return
		}
		ordered(t, s.Spans())
		if again := s.Encode(); !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x", b, again)
		}
	})
}

// BenchmarkAdd removes a million tags, 512 at a time: neighbours, and tags that lie apart.
func BenchmarkAdd(b *testing.B) {
	for _, apart := range []int{1, 7} {
		for _, n := range []int{1 << 18, 1 << 20} {
			b.Run(fmt.Sprintf("apart=%d/tags=%d", apart, n), func(b *testing.B) {
				for b.Loop() {
					var s *Set
					tags := make([]valuestore.Tag, 512)
					for i := 0; i < n; i += len(tags) {
						for j := range tags {
							tags[j] = valuestore.Tag(1 + (i+j)*apart)
						}
						s = s.Add(tags, uint64(i))
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/tag")
			})
		}
	}
}
