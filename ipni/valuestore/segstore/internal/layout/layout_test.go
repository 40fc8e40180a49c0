package layout

import (
	"errors"
	"slices"
	"testing"

	"github.com/hashstream/hashstream/digest"
)

func none(int) bool { return false }

// simulate flushes n segments and merges as the store would. It returns how often a flushed
// segment is written again, and the most runs that a partition had.
func simulate(n int, full, bytes int64) (rewrites float64, runs int) {
	l := Layout{Parts: make([]Part, 4), Full: full}
	weight := map[uint64]int{} // of a run, in flushed segments
	number, written := uint64(0), 0
	for range n {
		number++
		l.L0 = append(l.L0, &File{Number: number, Bytes: bytes})
		weight[number] = 1
		for i := l.Behind(none); i >= 0; i = l.Behind(none) {
			m := l.Plan(i)
			number++
			for _, f := range m.Inputs {
				weight[number] += weight[f.Number]
			}
			written += weight[number]
			l.Apply(m, &File{Number: number, Level: m.Level})
			runs = max(runs, len(l.Parts[i].Runs))
		}
	}
	return float64(written) / float64(n*len(l.Parts)), runs
}

// TestPlan wants few rewrites and few runs, whatever there is.
func TestPlan(t *testing.T) {
	for n, most := range map[int]float64{5: 0, 12: 1, 100: 1.7, 1000: 2.7, 10_000: 4.2} {
		if rewrites, runs := simulate(n, 0, 0); rewrites > most || runs > 20 {
			t.Errorf("%d segments: each is written again %.2f times, want %.2f; %d runs", n, rewrites, most, runs)
		}
	}
}

// TestBursts wants segments that are an eighth of a full one not to be written again more often than
// four fifths of what those would be that count as full.
func TestBursts(t *testing.T) {
	for n, most := range map[int]float64{25: 0, 100: 1, 1000: 1.9, 10_000: 3.3} {
		if rewrites, runs := simulate(n, 77, 9); rewrites > most || runs > 20 {
			t.Errorf("%d segments: each is written again %.2f times, want %.2f; %d runs", n, rewrites, most, runs)
		}
	}
	l := Layout{Parts: make([]Part, 1), Full: 77}
	for !l.Crowded() {
		l.L0 = append(l.L0, &File{Number: uint64(len(l.L0) + 1), Bytes: 9})
	}
	if len(l.L0) < 40 || len(l.L0) > 90 {
		t.Errorf("%d segments are too many", len(l.L0))
	}
}

// TestUneven wants the partitions that are behind others to merge what those have, and no more.
func TestUneven(t *testing.T) {
	l := Layout{Parts: make([]Part, 3), Full: 100}
	for i := range uint64(4) {
		l.L0 = append(l.L0, &File{Number: 10 + i, Bytes: 50})
	}
	if i := l.Uneven(none); i != -1 {
		t.Errorf("partition %d, where none has merged any", i)
	}
	l.Apply(l.merge(1, 0, 0, 1, l.Pending(1)[:2]), &File{Number: 20, Level: 1})
	for want := range 3 {
		i := l.Uneven(none)
		if want == 1 {
			continue
		}
		if i != want || len(l.L0) != 4 {
			t.Fatalf("partition %d, %d segments", i, len(l.L0))
		}
		plans := l.Evens(i)
		if m := plans[0]; len(plans) != 2 || len(m.Inputs) != 2 || m.Floor != 11 || plans[1].Floor != 10 {
			t.Fatalf("%+v", plans)
		}
		if got := l.Uneven(func(part int) bool { return part == i }); got == i {
			t.Error("it is not skipped")
		}
		l.Apply(plans[0], &File{Number: 21 + uint64(i), Level: 1})
	}
	if i := l.Uneven(none); i != -1 || len(l.L0) != 2 || len(l.Pending(0)) != 2 {
		t.Errorf("partition %d, %d segments", i, len(l.L0))
	}
}

// TestSmaller wants plans for less room, and a run in the middle to be written again in its place.
func TestSmaller(t *testing.T) {
	l := Layout{Parts: make([]Part, 1)}
	for i := range uint64(9) {
		l.L0 = append(l.L0, &File{Number: 20 + i})
	}
	for i := range uint64(5) {
		l.Parts[0].Runs = append(l.Parts[0].Runs, &File{Number: 1 + i, Level: 1})
	}
	var sizes []int
	for _, m := range l.Plans(0) {
		sizes = append(sizes, len(m.Inputs))
	}
	if !slices.Equal(sizes, []int{14, 9, 4, 2, 1}) {
		t.Errorf("merges of %v", sizes)
	}
	m := l.Plans(0)[2]
	l.Apply(m, &File{Number: 40, Level: 1})
	if m.Keep != 5 || len(l.L0) != 5 || len(l.Parts[0].Runs) != 6 || l.Parts[0].Runs[5].Number != 40 {
		t.Errorf("%+v, %+v", m, l)
	}
	l.Apply(l.merge(0, 2, 1, 1, nil), &File{Number: 41, Level: 1})
	if r := l.Parts[0].Runs; len(r) != 6 || r[1].Number != 2 || r[2].Number != 41 || r[3].Number != 4 || len(l.L0) != 5 {
		t.Errorf("%+v", r)
	}
	if got := l.Behind(func(int) bool { return true }); got != -1 || len(l.Pinned()) != 1 {
		t.Errorf("partition %d, pinned by %v", got, l.Pinned())
	}
}

// TestPlanOrder wants a merge to take neighbours only: what is between them is older than one
// and newer than the other.
func TestPlanOrder(t *testing.T) {
	file := func(number uint64, level int) *File { return &File{Number: number, Level: level} }
	l := Layout{
		L0:    []*File{file(10, 0), file(11, 0), file(12, 0)},
		Parts: []Part{{Floor: 10, Runs: []*File{file(1, 2), file(2, 1), file(3, 1), file(4, 1), file(5, 1), file(6, 1)}}, {Floor: 9}},
	}
	numbers := func(m Merge) (n []uint64) {
		for _, f := range m.Inputs {
			n = append(n, f.Number)
		}
		return n
	}
	m := l.Plan(0)
	if got := numbers(m); !slices.Equal(got, []uint64{2, 3, 4, 5, 6, 11, 12}) || m.Level != 2 || m.Keep != 1 || m.Floor != 12 {
		t.Errorf("%v, %+v", got, m)
	}
	l.Apply(m, file(20, m.Level))
	if len(l.L0) != 3 || len(l.Parts[0].Runs) != 2 || l.Parts[0].Runs[1].Number != 20 || len(l.Pending(0)) != 0 {
		t.Errorf("%+v", l)
	}
	l.Apply(l.Whole(1), file(21, 1))
	if len(l.L0) != 0 || !l.Merged(1) || l.Merged(0) {
		t.Errorf("%+v", l)
	}
}

func TestBounds(t *testing.T) {
	for n := 1; n <= 256; n *= 2 {
		l := Layout{Parts: make([]Part, n)}
		for b := range uint64(256) {
			key := [32]byte{byte(b), 0xff}
			for i := range l.Parts {
				if got := l.Bounds(i).Contains(key); got != (i == l.PartOf(b<<56|0xff<<48)) {
					t.Fatalf("%d partitions: byte %x in %d: %v", n, b, i, got)
				}
			}
		}
	}
}

// FuzzManifest parses manifests, with right checksums too.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"key_bytes":32,"next":1,"log":1,"gen":0,"tags":{"n":3,"size":9},"l0":[],"parts":[{"floor":0,"runs":[]}]}`))
	f.Add([]byte(`{"parts":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, b := range [][]byte{body, seal(body)} {
			if m, err := ParseManifest(b); err != nil && !errors.Is(err, digest.ErrMismatch) {
				t.Fatal(err)
			} else if err == nil && len(m.Parts) == 0 {
				t.Fatal("no partitions")
			}
		}
	})
}
