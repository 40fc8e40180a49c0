package router_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/breaker"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/clustertest"
	"github.com/hashstream/hashstream/ipni/cluster/router"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// bubble runs f with time that passes only when all wait.
func bubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func TestWriteAndRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b", "c")
		for p := range cluster.Partitions { // of three nodes, each partition is on two
			rig.change(byte(p), func(row *cluster.Row) { row.Drop(string(rune('a' + p%3))) })
		}
		r := rig.router(&router.Options{Batch: 4096})
		c, other := contextOf(1, 1), contextOf(2, 1)
		var texts []string
		for i := range 500 {
			texts = append(texts, fmt.Sprint("text ", i))
		}
		must(t, r.Put(t.Context(), ipni.Group{Context: c, Epoch: 3}, hashes(texts...)))
		must(t, r.Put(t.Context(), ipni.Group{Context: other, Epoch: 3}, hashes(texts[:100]...)))
		must(t, r.PutMetadata(t.Context(), c, []byte("metadata")))
		for i, text := range texts {
			want(t, r, text, map[bool]int{true: 2, false: 1}[i < 100])
		}
		want(t, r, "nothing", 0)
		total := 0
		for _, s := range rig.stores {
			n, _ := s.Len()
			total += n
		}
		if total != 2*600 {
			t.Fatalf("%d records on all nodes, want each twice", total)
		}
		if got, err := r.Metadata(t.Context(), c); err != nil || string(got) != "metadata" {
			t.Fatalf("metadata %q, %v", got, err)
		}
		if _, err := r.Metadata(t.Context(), other); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("metadata that is not there: %v", err)
		}

		must(t, r.Remove(t.Context(), c, 3)) // its epoch is not below
		want(t, r, texts[0], 2)
		must(t, r.Remove(t.Context(), c, 4))
		want(t, r, texts[0], 1)
		want(t, r, texts[200], 0)
		must(t, r.RemoveSealed(t.Context(), ipni.TagProvider(other.Provider), nil, 10))
		want(t, r, texts[0], 0)
		must(t, r.PutMetadata(t.Context(), c, nil))
		if _, err := r.Metadata(t.Context(), c); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("metadata that was removed: %v", err)
		}
	})
}

// A write that one replica did not take counts, but only after the table says so.
func TestWriteMarksWhoFailed(t *testing.T) {
	faults := map[string]clustertest.Fault{
		"cut":     {Err: clustertest.ErrCut},
		"stalled": {Hang: true},
		"deaf":    {Hang: true, Deaf: true},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rig := newRig(t, "a", "b")
				r := rig.router(nil)
				c := contextOf(1, 1)
				rig.links["b"].Break(fault)
				start := time.Now()
				must(t, r.Put(t.Context(), ipni.Group{Context: c}, hashes("x")))
				if d := time.Since(start); d > 20*time.Second {
					t.Fatalf("took %v", d)
				}
				rig.links["b"].Break(clustertest.Fault{})
				p := dhash.SecondHash(hash("x"))[0]
				if diff := cmp.Diff(map[string]cluster.State{"a": cluster.Ready, "b": cluster.Behind}, rig.states(p)); diff != "" {
					t.Fatal(diff)
				}
				if got := rig.states(p + 1)["b"]; got != cluster.Ready {
					t.Fatalf("a partition that was not written to is %v", got)
				}
				want(t, r, "x", 1)
				want(t, rig.router(nil), "x", 1)
				// With the only one in sync gone, absence is not known, whatever b says.
				rig.links["a"].Cut()
				wantUnknown(t, rig.router(nil), "x")
			})
		})
	}
}

func TestWriteFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		r := rig.router(nil)
		g := ipni.Group{Context: contextOf(1, 1)}
		p := dhash.SecondHash(hash("x"))[0]
		put := func() error { g.Epoch++; return r.Put(t.Context(), g, hashes("x")) }

		rig.links["a"].Cut()
		rig.links["b"].Cut()
		if err := put(); !errors.Is(err, cluster.ErrUnavailable) {
			t.Fatalf("no replica at all: %v", err)
		}
		if got := rig.states(p); got["a"] != cluster.Ready || got["b"] != cluster.Ready {
			t.Fatalf("a write that failed everywhere changed the table: %v", got)
		}
		rig.change(p, func(row *cluster.Row) { row.Set("b", cluster.Behind) })
		time.Sleep(time.Minute) // for the breakers, and the table is read again
		rig.links["b"].Break(clustertest.Fault{})
		if err := put(); !errors.Is(err, cluster.ErrUnavailable) {
			t.Fatalf("no replica in sync: %v", err)
		}
		rig.links["a"].Break(clustertest.Fault{})
		rig.change(p, func(row *cluster.Row) { row.Set("a", cluster.Filling) })
		time.Sleep(time.Minute)
		if err := put(); !errors.Is(err, cluster.ErrUnavailable) {
			t.Fatalf("only one that fills: %v", err)
		}
		rig.change(p, func(row *cluster.Row) { row.Set("a", cluster.Ready); row.Set("b", cluster.Filling) })
		time.Sleep(time.Minute)
		rig.links["a"].Cut()
		if err := put(); !errors.Is(err, cluster.ErrUnavailable) {
			t.Fatalf("taken by one that fills only: %v", err)
		}
		if got := rig.states(p)["a"]; got != cluster.Ready {
			t.Fatalf("the only one in sync became %v", got)
		}
		rig.links["a"].Break(clustertest.Fault{})
		rig.change(p, func(row *cluster.Row) { row.Set("b", cluster.Behind) })
		time.Sleep(time.Minute)
		before, _ := rig.stores["b"].Len()
		must(t, put())
		if n, _ := rig.stores["b"].Len(); n != before {
			t.Fatal("one that is behind was written to")
		}

		rig.change(p, func(row *cluster.Row) { row.Set("b", cluster.Ready) })
		time.Sleep(time.Minute)
		rig.links["b"].Break(clustertest.Fault{Hang: true})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := r.Put(ctx, g, hashes("x")); !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled: %v", err)
		}
		if got := rig.states(p)["b"]; got != cluster.Ready {
			t.Fatalf("a caller that went away made a replica %v", got)
		}
	})
}

// Meanwhile another has become the replica in sync: what it missed is marked too.
func TestWriteAgainstNewerTable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b", "c")
		p := dhash.SecondHash(hash("x"))[0]
		rig.change(p, func(row *cluster.Row) { row.Drop("c") })
		r := rig.router(nil)
		want(t, r, "x", 0) // it has the table now
		rig.change(p, func(row *cluster.Row) { row.Set("c", cluster.Filling) })
		rig.links["b"].Cut()
		must(t, r.Put(t.Context(), ipni.Group{Context: contextOf(1, 1)}, hashes("x")))
		if diff := cmp.Diff(map[string]cluster.State{"a": "ready", "b": "behind", "c": "behind"}, rig.states(p)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// The reference's section 5: what is not known must not be told as absence.
func TestAbsence(t *testing.T) {
	stall := clustertest.Fault{Hang: true, ReadsToo: true}
	deaf := clustertest.Fault{Hang: true, Deaf: true, ReadsToo: true}
	cut := clustertest.Fault{Err: clustertest.ErrCut, ReadsToo: true}
	tests := []struct {
		name    string
		a, b    clustertest.Fault
		stateB  cluster.State
		text    string // "there" is on a and b, or on a alone if b is not in sync
		found   int    // -1: not known; one more if it may not be all
		timeout bool
	}{
		{name: "both say no", stateB: cluster.Ready, text: "no"},
		{name: "one is cut off", b: cut, stateB: cluster.Ready, text: "no", found: -1},
		{name: "one stalls", b: stall, stateB: cluster.Ready, text: "no", found: -1, timeout: true},
		{name: "one is deaf", a: deaf, stateB: cluster.Ready, text: "no", found: -1, timeout: true},
		{name: "both are cut off", a: cut, b: cut, stateB: cluster.Ready, text: "there", found: -1},
		{name: "the other has it", a: cut, stateB: cluster.Ready, text: "there", found: 1},
		{name: "the other has it in time", a: stall, stateB: cluster.Ready, text: "there", found: 1},
		{name: "one lost it", a: clustertest.Fault{Empty: true}, stateB: cluster.Ready, text: "there", found: 1},
		{name: "one tells garbage", a: clustertest.Fault{Garbage: []byte("garbage")}, stateB: cluster.Ready, text: "there", found: 1},
		{name: "one tells too much", a: clustertest.Fault{Garbage: make([]byte, 4096)}, stateB: cluster.Ready, text: "there", found: 1},
		{name: "too much, and no", a: clustertest.Fault{Garbage: make([]byte, 4096)}, stateB: cluster.Ready, text: "no", found: -1},
		{name: "behind is not asked", b: cut, stateB: cluster.Behind, text: "no"},
		{name: "filling is not asked", b: cut, stateB: cluster.Filling, text: "no"},
		{name: "behind says no, the other nothing", a: cut, stateB: cluster.Behind, text: "there", found: -1},
		{name: "behind has it", a: cut, stateB: cluster.Behind, text: "old", found: 2},
		{name: "filling has it", a: stall, stateB: cluster.Filling, text: "old", found: 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rig := newRig(t, "a", "b")
				r := rig.router(nil)
				g := ipni.Group{Context: contextOf(1, 1)}
				must(t, r.Put(t.Context(), g, hashes("old")))
				for _, text := range []string{"no", "there", "old"} {
					rig.change(dhash.SecondHash(hash(text))[0], func(row *cluster.Row) {
						row.Set("b", test.stateB)
						if test.stateB == cluster.Filling {
							row.Set("b", cluster.Behind) // so that "there" is not written to it
						}
					})
				}
				r = rig.router(nil)
				must(t, r.Put(t.Context(), g, hashes("there")))
				for _, text := range []string{"no", "there", "old"} {
					rig.change(dhash.SecondHash(hash(text))[0], func(row *cluster.Row) { row.Set("b", test.stateB) })
				}
				rig.links["a"].Break(test.a)
				rig.links["b"].Break(test.b)
				for range 10 { // whoever is asked first
					r := rig.router(nil)
					if test.found >= 0 {
						want(t, r, test.text, test.found)
						continue
					}
					err := wantUnknown(t, r, test.text)
					if got := errors.Is(err, context.DeadlineExceeded); got != test.timeout {
						t.Fatalf("timeout %v: %v", got, err)
					}
				}
				rig.links["a"].Break(clustertest.Fault{}) // lets go of who is deaf
			})
		})
	}
}

// While a replica is not in sync, absence is checked against the table of now: the one that
// answered may just have missed a write.
func TestAbsenceWhileTableChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		p := dhash.SecondHash(hash("x"))[0]
		rig.change(p, func(row *cluster.Row) { row.Set("b", cluster.Filling) })
		reader := rig.router(nil)
		want(t, reader, "x", 0) // it has the table: only a is in sync
		rig.change(p, func(row *cluster.Row) { row.Set("b", cluster.Ready) })
		rig.links["a"].Break(clustertest.Fault{Err: clustertest.ErrCut}) // for writes
		must(t, rig.router(nil).Put(t.Context(), ipni.Group{Context: contextOf(1, 1)}, hashes("x")))
		want(t, reader, "x", 1)
	})
}

// cutKV is a store of keys that can be cut off.
func TestAbsenceWithoutTable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		cut := &cutKV{Store: rig.kv}
		rig.kv = cut
		r := rig.router(nil)
		must(t, r.Put(t.Context(), ipni.Group{Context: contextOf(1, 1)}, hashes("x")))
		want(t, r, "no", 0)
		cut.cut.Store(true)
		want(t, r, "no", 0) // the table is young
		time.Sleep(3 * time.Second)
		wantUnknown(t, r, "no")
		want(t, r, "x", 1) // what there is, is told
		if err := r.Put(t.Context(), ipni.Group{Context: contextOf(1, 1)}, hashes("y")); !errors.Is(err, cluster.ErrUnavailable) {
			t.Fatalf("a write without a table: %v", err)
		}
		cut.cut.Store(false)
		want(t, r, "no", 0)

		// A write that a replica missed, but that cannot be said.
		rig.links["b"].Cut()
		cut.writes.Store(true)
		if err := r.Put(t.Context(), ipni.Group{Context: contextOf(1, 1)}, hashes("z")); !errors.Is(err, cluster.ErrUnavailable) {
			t.Fatalf("acknowledged without a mark: %v", err)
		}
	})
}

// An answer some of whose values were spoiled is not all that there is.
func TestSpoiled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		r := rig.router(nil)
		for i := range byte(5) {
			must(t, r.Put(t.Context(), ipni.Group{Context: contextOf(1, i)}, hashes("x")))
		}
		for _, fault := range []clustertest.Fault{{Spoil: true}, {Twice: true}} {
			rig.links["a"].Break(fault)
			for range 10 {
				want(t, r, "x", 5)
			}
		}
	})
}

// The table is read again after a write that failed, and so the next one does not wait.
func TestNextWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		r := rig.router(nil)
		put := func() time.Duration {
			start := time.Now()
			must(t, r.Put(t.Context(), ipni.Group{Context: contextOf(1, 1)}, hashes("x")))
			return time.Since(start)
		}
		rig.links["b"].Cut()
		put()
		rig.links["b"].Break(clustertest.Fault{Hang: true})
		if d := put(); d > 0 {
			t.Fatalf("waited for %v", d)
		}
	})
}

func TestHedge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		r := rig.router(&router.Options{Hedge: 20 * time.Millisecond})
		must(t, r.Put(t.Context(), ipni.Group{Context: contextOf(1, 1)}, hashes("x")))
		rig.links["a"].Break(clustertest.Fault{Hang: true, ReadsToo: true})
		for range 20 {
			start := time.Now()
			want(t, r, "x", 1)
			if d := time.Since(start); d > 20*time.Millisecond {
				t.Fatalf("a slow replica held up the answer for %v", d)
			}
		}
		if n := rig.links["a"].Reads(); n == 0 || n == 20 {
			t.Fatalf("a was asked %d times of 20", n)
		}
		if s := r.Peers()[0]; s.Breaker != breaker.Closed {
			t.Fatal("a breaker opened because others were quicker")
		}
	})
}

// A long answer that breaks off goes on from another replica.
func TestContinue(t *testing.T) {
	const values = 1000
	for _, fault := range []clustertest.Fault{{Err: clustertest.ErrCut}, {Hang: true}, {Hang: true, Deaf: true}} {
		for _, after := range []int{0, 1, 255, 256, 257, 700, values} {
			t.Run(fmt.Sprintf("%+v/%d", fault, after), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					rig := newRig(t, "a", "b")
					r := rig.router(nil)
					for i := range values {
						c := ipni.Context{Provider: contextOf(1, 1).Provider, ID: fmt.Sprint(i)}
						must(t, r.Put(t.Context(), ipni.Group{Context: c}, hashes("x")))
					}
					fault.After, fault.ReadsToo = after, true
					for i, id := range []string{"a", "b"} { // one of them is asked first
						rig.links[id].Break(fault)
						rig.links[[]string{"b", "a"}[i]].Break(clustertest.Fault{})
						var last []byte
						n := 0
						for v, err := range r.ValueKeys(t.Context(), dhash.SecondHash(hash("x"))) {
							must(t, err)
							if bytes.Compare(last, v) >= 0 {
								t.Fatal("a value twice, or out of order")
							}
							last = bytes.Clone(v)
							n++
						}
						if n != values {
							t.Fatalf("%d values of %d", n, values)
						}
					}
					// With no other replica, the end is an error.
					rig.links["a"].Break(fault)
					rig.links["b"].Break(fault)
					n := 0
					for _, err := range r.ValueKeys(t.Context(), dhash.SecondHash(hash("x"))) {
						if n++; err != nil && !errors.Is(err, cluster.ErrUnavailable) {
							t.Fatal(err)
						} else if err == nil && n > after {
							t.Fatal("no error")
						}
					}
					rig.links["a"].Break(clustertest.Fault{})
					rig.links["b"].Break(clustertest.Fault{})
				})
			})
		}
	}
}

// A value that does not open, on all replicas, is what somebody wrote.
func TestForeignGarbage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		r := rig.router(nil)
		key := dhash.SecondHash(hash("x"))
		for _, junk := range []byte{0, 0x80, 0xff} {
			must(t, r.PutSealed(t.Context(), ipni.SealedGroup{}, nil))
			must(t, r.PutSealed(t.Context(), ipni.SealedGroup{}, records(key, bytes.Repeat([]byte{junk}, 100))))
		}
		want(t, r, "x", 0)
		for i := range byte(5) {
			must(t, r.Put(t.Context(), ipni.Group{Context: contextOf(1, i)}, hashes("x")))
		}
		for range 10 {
			want(t, r, "x", 5)
		}
		rig.links["a"].Cut()
		want(t, r, "x", 5)
	})
}

// A connection that breaks by itself is no failure: replicas are asked once more if none answered.
func TestAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		r := rig.router(nil)
		must(t, r.Put(t.Context(), ipni.Group{Context: contextOf(1, 1)}, hashes("x")))
		for text, n := range map[string]int{"x": 1, "no": 0} {
			for _, link := range rig.links {
				link.Cut()
			}
			time.AfterFunc(20*time.Millisecond, func() {
				for _, link := range rig.links {
					link.Break(clustertest.Fault{})
				}
			})
			want(t, r, text, n)
		}
	})
}

// Breakers open for nodes that do not answer, and close when they do.
func TestBreaker(t *testing.T) {
	for _, fault := range []clustertest.Fault{{Err: clustertest.ErrCut, ReadsToo: true}, {Hang: true, ReadsToo: true}, {Hang: true, Deaf: true, ReadsToo: true}} {
		bubble(t, func(t *testing.T) {
			rig := newRig(t, "a", "b")
			r := rig.router(&router.Options{Breaker: breaker.Options{Failures: 3}})
			rig.links["b"].Break(fault)
			for range 3 {
				wantUnknown(t, r, "no")
			}
			state := func() breaker.State {
				i := slices.IndexFunc(r.Peers(), func(p router.PeerStatus) bool { return p.ID == "b" })
				return r.Peers()[i].Breaker
			}
			if state() != breaker.Open {
				t.Fatalf("%+v: %v after three failures", fault, state())
			}
			before := rig.links["b"].Reads()
			wantUnknown(t, r, "no") // and not absence
			if rig.links["b"].Reads() != before {
				t.Fatal("asked with an open breaker")
			}
			rig.links["b"].Break(clustertest.Fault{})
			time.Sleep(time.Minute)
			want(t, r, "no", 0)
			if state() != breaker.Closed {
				t.Fatalf("%+v: %v after an answer", fault, state())
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := newRig(t, "a")
		r := rig.router(nil)
		c := contextOf(1, 1)
		long := c
		long.ID = string(make([]byte, 65))
		for name, err := range map[string]error{
			"records":    r.PutSealed(t.Context(), ipni.SealedGroup{}, []byte{1, 2, 3}),
			"multihash":  r.Put(t.Context(), ipni.Group{Context: c}, ipni.Multihashes{0x12, 0x20, 1}),
			"context id": r.Put(t.Context(), ipni.Group{Context: long}, hashes("x")),
			"provider":   r.Put(t.Context(), ipni.Group{}, hashes("x")),
			"metadata":   r.PutMetadata(t.Context(), c, make([]byte, 1025)),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if n, _ := rig.stores["a"].Len(); n != 0 {
			t.Errorf("%d records", n)
		}
	})
}

// A process that stood still between the table and the write knows nothing of who joined meanwhile.
func TestWriteOfAProcessThatStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, "a", "b")
		store := &cutKV{Store: rig.kv}
		rig.kv = store
		r := rig.router(nil)
		still := cluster.Timing{}.WithDefaults().Settle()
		scans := 0
		store.pause = func() {
			if scans++; scans == 2 { // of the partitions and of the members
				time.Sleep(still)
			}
		}
		if err := r.Put(t.Context(), ipni.Group{Context: contextOf(1, 1), Epoch: 1}, hashes("x")); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("a write with a table of %v ago: %v", still, err)
		}
		store.pause = nil
		must(t, r.Put(t.Context(), ipni.Group{Context: contextOf(1, 1), Epoch: 1}, hashes("x")))
		want(t, r, "x", 1)
	})
}
