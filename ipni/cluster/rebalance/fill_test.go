package rebalance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/clustertest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// busy is a node that is written to while it is exported, as is the one that reads it.
type busy struct {
	cluster.Node
	write func()
}

func (b busy) ExportSealed(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Record, error] {
	return during(b.Node.ExportSealed(ctx, r), b.write)
}

func (b busy) ExportMetadata(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Metadata, error] {
	return during(b.Node.ExportMetadata(ctx, r), b.write)
}

func during[T any](all iter.Seq2[T, error], write func()) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for x, err := range all {
			write()
			if !yield(x, err) {
				return
			}
		}
		write()
	}
}

// dump returns all that a node has.
func dump(t testing.TB, n cluster.Node) (lines []string) {
	t.Helper()
	for r, err := range n.ExportSealed(t.Context(), valuestore.Everything()) {
		must(t, err)
		lines = append(lines, fmt.Sprintf("%x %s %x", r.Key, r.Value, r.Group))
	}
	for m, err := range n.ExportMetadata(t.Context(), valuestore.Everything()) {
		must(t, err)
		lines = append(lines, fmt.Sprintf("metadata %x %s", m.Key, m.Sealed))
	}
	return lines
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// change makes a random write to each of nodes.
func change(t testing.TB, rnd *rand.Rand, nodes ...cluster.Node) {
	t.Helper()
	ctx := t.Context()
	key := dhash.Key{7, byte(rnd.IntN(40))}
	g := ipni.SealedGroup{Provider: ipni.ProviderTag{byte(rnd.IntN(2))}, Context: dhash.MetadataKey{byte(rnd.IntN(3))}, Epoch: uint64(rnd.IntN(4))}
	record := valuestore.Records(nil).Append(key, []byte{byte('a' + rnd.IntN(3))})
	what, some := rnd.IntN(20), rnd.IntN(3)
	for _, n := range nodes {
		switch {
		case what < 10:
			must(t, n.PutSealed(ctx, g, record))
		case what < 14:
			must(t, n.DeleteSealed(ctx, g, record))
		case what < 17:
			must(t, n.PutSealedMetadata(ctx, dhash.MetadataKey(key), []byte{byte('a' + some)}))
		case what < 19:
			must(t, n.PutSealedMetadata(ctx, dhash.MetadataKey(key), nil))
		case some == 0:
			must(t, n.RemoveSealed(ctx, g.Provider, nil, g.Epoch))
		default:
			must(t, n.RemoveSealed(ctx, g.Provider, &g.Context, g.Epoch))
		}
	}
}

// Whatever is written while a copy fills, and whatever it had before, it is the same as the other
// when it is done.
func TestFillUnderWrites(t *testing.T) {
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		from, own := clustertest.NewStore(), clustertest.NewStore()
		notes := 0
		if seed%3 == 0 {
			notes = 5 + rnd.IntN(40)
		}
		to := NewReplica(own, notes)
		for range rnd.IntN(200) {
			change(t, rnd, from)
			change(t, rnd, own)
			change(t, rnd, from, own)
		}
		source := busy{from, func() {
			for range rnd.IntN(3) {
				change(t, rnd, to, from)
			}
		}}
		work := &pull{to: to, from: source, limit: rate.NewLimiter(rate.Inf, 1), window: 1 + rnd.IntN(100), batch: 1 + rnd.IntN(300), stall: 1 << 60}
		next, done := dhash.Key{}, false
		for attempt := 0; ; attempt++ {
			if attempt > 10000 {
				t.Fatal("makes no progress")
			}
			if work.fill == nil || work.fill.lost() {
				to.end(7)
				work.fill = to.begin(7)
				work.put, work.del, work.pending = nil, nil, 0
			}
			r := cluster.PartitionRange(7)
			r.From = dhash.Key(bytes.Clone(next[:]))
			r.From[0] = 7
			var err error
			if !done {
				var more bool
				var at dhash.Key
				if at, more, err = work.records(t.Context(), r); err == nil {
					next, done = at, !more
					continue
				}
			} else if err = work.metadata(t.Context(), cluster.PartitionRange(7)); err == nil {
				break
			}
			if !errors.Is(err, errOverflow) {
				t.Fatal(err)
			}
			if notes > 0 && attempt > 50 {
				to.max = 1 << 20 // the load has gone down
			}
		}
		if diff := cmp.Diff(dump(t, from), dump(t, own)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		if to.end(7); to.notes != 0 {
			t.Fatalf("%d notes are left", to.notes)
		}
	}
}

// An export that is out of order, out of range or breaks off fills nothing further.
func TestFillFromLiar(t *testing.T) {
	record := func(first, second byte) cluster.Record {
		return cluster.Record{Key: dhash.Key{first, second}, Value: []byte("v")}
	}
	for name, list := range map[string][]cluster.Record{
		"out of order": {record(7, 2), record(7, 1)},
		"out of range": {record(7, 2), record(8, 1)},
		"too large":    {{Key: dhash.Key{7}, Value: make([]byte, valuestore.MaxValue+1)}},
	} {
		own := clustertest.NewStore()
		to := NewReplica(own, 0)
		work := &pull{to: to, fill: to.begin(7), from: liar{own, list}, limit: rate.NewLimiter(rate.Inf, 1), window: 100, batch: 1000, stall: 1 << 60}
		if _, _, err := work.records(t.Context(), cluster.PartitionRange(7)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type liar struct {
	cluster.Node
	list []cluster.Record
}

func (l liar) ExportSealed(context.Context, valuestore.Range) iter.Seq2[cluster.Record, error] {
	return func(yield func(cluster.Record, error) bool) {
		for _, x := range l.list {
			if !yield(x, nil) {
				return
			}
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte(cursor{Since: 3, Next: fmt.Sprintf("%064x", 7)}.encode()))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := parseCursor(b)
		if ok && !bytes.Equal(c.encode(), b) {
			t.Fatalf("%q becomes %q", b, c.encode())
		}
	})
}
