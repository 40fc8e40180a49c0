package state

import (
	"math/rand/v2"
	"testing"
)

func TestOrder(t *testing.T) {
	newer := []uint64{Order(2, 0), Order(2, 1), Order(2, MaxDepth), Order(1, 0), Order(1, 5)}
	for i := range newer[1:] {
		if newer[i] <= newer[i+1] {
			t.Errorf("order %x is not above %x", newer[i], newer[i+1])
		}
	}
}

func TestFloor(t *testing.T) {
	old := &Gap{Seq: 1, Depth: 10}
	for _, x := range []struct {
		name            string
		gaps            []*Gap
		order, at, want uint64
		below           uint64
	}{
		{"nothing is left", nil, Order(3, 0), 3, 0, 0},
		{"the gap goes on below", nil, Order(3, 0), 3, Order(3, 9), Order(3, 9)},
		{"an older gap", []*Gap{old}, Order(3, 0), 3, Order(1, 10) + 1, 0},
		{"above what is left of an older gap", []*Gap{old}, Order(1, 3), 0, Order(1, 10) + 1, 0},
		{"below what is left of a gap", []*Gap{old}, Order(1, 12), 0, Order(1, 12), 0},
		{"a newer gap", []*Gap{{Seq: 5}}, Order(3, 0), 3, 0, 0},
		{"what is read again is processed", []*Gap{{Seq: 1, Resync: true}}, Order(3, 0), 3, 0, 0},
		{"what can never be read", []*Gap{{Seq: 1, Parked: true}}, Order(3, 0), 3, 0, 0},
	} {
		if got := Floor(x.gaps, x.order, x.at, x.below); got != x.want {
			t.Errorf("%s: floor %x, want %x", x.name, got, x.want)
		}
	}
}

// TestPlace processes additions and removals of one context in a random order of blocks,
// each in its own order, as segments are, and checks that what is left is what the whole
// gives in order.
func TestPlace(t *testing.T) {
	tag := Tag{1}
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 2))
		n := 2 + r.IntN(9)
		removal := make([]bool, n) // by order - 1
		for i := range removal {
			removal[i] = r.IntN(3) == 0
		}
		// Cut into blocks, and process them in a random order.
		var blocks [][2]int
		for i := 0; i < n; {
			end := min(n, i+1+r.IntN(4))
			blocks = append(blocks, [2]int{i, end})
			i = end
		}
		r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		done := make([]bool, n)
		var st Context
		groups := map[int]uint64{} // addition → epoch
		for _, b := range blocks {
			for i := b[0]; i < b[1]; i++ {
				order := uint64(i + 1)
				floor := order // the lowest so that everything from it to order is done
				for floor > 1 && done[floor-2] {
					floor--
				}
				done[i] = true
				switch {
				case removal[i]:
					var before uint64
					before, st = st.Cut(order)
					for a, e := range groups {
						if e < before {
							delete(groups, a)
						}
					}
				case order > st.RemovedAt:
					groups[i], st = st.Place(order, floor, tag)
				}
			}
		}
		last := -1
		for i, rm := range removal {
			if rm {
				last = i
			}
		}
		for i := range n {
			if _, ok := groups[i]; ok != (!removal[i] && i > last) {
				t.Fatalf("seed %d: removals %v, blocks %v: addition %d is there: %t", seed, removal, blocks, i, ok)
			}
		}
	}
}

// Who adds after another publisher gets a group of its own, and a removal in the midst
// of a group keeps too much rather than too little.
func TestTwoPublishers(t *testing.T) {
	first, st := Context{}.Place(10, 0, Tag{1})
	again, st := st.Place(20, 0, Tag{1})
	other, next := st.Place(30, 0, Tag{2})
	if first != 10 || again != 10 || other != 30 {
		t.Errorf("epochs %d, %d, %d", first, again, other)
	}
	if before, _ := next.Cut(25); before != 25 {
		t.Errorf("removes below %d, want 25", before)
	}
	if before, st := st.Cut(15); before != 10 || st.RemovedAt != 15 {
		t.Errorf("removes below %d, want 10: what was added at 20 would be lost", before)
	}
}
