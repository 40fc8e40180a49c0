package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	oracle "github.com/ipni/go-libipni/dhash"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// testProvider returns a peer id like those of ed25519 keys.
func testProvider(n byte) peer.ID {
	return peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, bytes.Repeat([]byte{n}, 32)...))
}

func testContext(provider byte, id string) ipni.Context {
	return ipni.Context{Provider: testProvider(provider), ID: id}
}

// hash returns the n-th multihash.
func hash(n int) multihash.Multihash {
	mh, err := multihash.Sum(binary.BigEndian.AppendUint64(nil, uint64(n)), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh
}

func hashes(from, to int) ipni.Multihashes {
	var m ipni.Multihashes
	for i := from; i < to; i++ {
		m = append(m, hash(i)...)
	}
	return m
}

type fixture struct {
	*Store
	values *memValues
	rows   *memkv.Store
}

func open(t *testing.T, o Options) *fixture {
	t.Helper()
	f := &fixture{values: newMemValues(o.Compact), rows: memkv.New()}
	f.reopen(t, o)
	return f
}

func (f *fixture) reopen(t *testing.T, o Options) {
	t.Helper()
	s, err := Open(t.Context(), f.values, f.rows, &o)
	if err != nil {
		t.Fatal(err)
	}
	f.Store = s
}

func modes(t *testing.T, f func(t *testing.T, o Options)) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact=%v", compact), func(t *testing.T) { f(t, Options{Compact: compact}) })
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// collect returns what seq yields, as texts in order.
func collect[T any](t *testing.T, seq iter.Seq2[T, error], text func(T) string) []string {
	t.Helper()
	var all []string
	for v, err := range seq {
		check(t, err)
		all = append(all, text(v))
	}
	slices.Sort(all)
	return all
}

func (f *fixture) contexts(t *testing.T, mh multihash.Multihash) []string {
	t.Helper()
	return collect(t, f.Contexts(t.Context(), mh), func(c ipni.Context) string {
		return fmt.Sprintf("%d %s", c.Provider[6], c.ID)
	})
}

func (f *fixture) valueKeys(t *testing.T, mh multihash.Multihash) []string {
	t.Helper()
	return collect(t, f.ValueKeys(t.Context(), dhash.SecondHash(mh)), func(b []byte) string { return string(b) })
}

func (f *fixture) expect(t *testing.T, mh multihash.Multihash, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.contexts(t, mh)); diff != "" {
		t.Errorf("contexts of %x: %s", mh[:6], diff)
	}
	if got := f.valueKeys(t, mh); len(got) != len(want) {
		t.Errorf("%d value keys of %x, not %d", len(got), mh[:6], len(want))
	}
}

func group(provider byte, id string, epoch uint64) ipni.Group {
	return ipni.Group{Context: testContext(provider, id), Epoch: epoch}
}

func TestPutAndRemove(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		ctx := t.Context()
		check(t, f.Put(ctx, group(1, "a", 1), hashes(0, 3000)))
		check(t, f.Put(ctx, group(1, "b", 1), hashes(2000, 2010)))
		check(t, f.Put(ctx, group(2, "a", 5), hashes(2000, 2001)))
		check(t, f.Put(ctx, group(1, "a", 2), hashes(0, 10))) // again, later
		f.expect(t, hash(0), "1 a")
		f.expect(t, hash(2999), "1 a")
		f.expect(t, hash(2000), "1 a", "1 b", "2 a")
		f.expect(t, hash(9999))

		check(t, f.Remove(ctx, testContext(1, "a"), 2))
		f.expect(t, hash(5), "1 a") // of epoch 2
		f.expect(t, hash(11))
		f.expect(t, hash(2000), "1 b", "2 a")

		// Two providers with one context id: the removal of one leaves the other's.
		check(t, f.Remove(ctx, testContext(1, "a"), math.MaxUint64))
		f.expect(t, hash(2000), "1 b", "2 a")

		check(t, f.Put(ctx, group(1, "c", 2), hashes(5, 6)))
		check(t, f.RemoveSealed(ctx, ipni.TagProvider(testProvider(1)), nil, 2))
		f.expect(t, hash(5), "1 c")
		f.expect(t, hash(2000), "2 a")
		f.reopen(t, o)
		f.expect(t, hash(2000), "2 a")
		check(t, f.Put(ctx, group(1, "b", 1), hashes(2000, 2001))) // a tag that was removed is not used again
		f.expect(t, hash(2000), "1 b", "2 a")
	})
}

// TestOracle writes with this package and reads what go-libipni computes.
func TestOracle(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		c := testContext(7, strings.Repeat("\x09", 36))
		check(t, f.Put(t.Context(), ipni.Group{Context: c}, hashes(0, 20)))
		check(t, f.PutMetadata(t.Context(), c, []byte{0x80, 0x12}))
		vk := oracle.CreateValueKey(c.Provider, []byte(c.ID))
		for i := range 20 {
			want, err := oracle.EncryptValueKey(vk, hash(i))
			check(t, err)
			key, err := dhash.ParseKey(oracle.SecondMultihash(hash(i)))
			check(t, err)
			for got, err := range f.ValueKeys(t.Context(), key) {
				check(t, err)
				if !bytes.Equal(got, want) {
					t.Fatalf("value key %x, not %x", got, want)
				}
			}
		}
		sealed, err := f.SealedMetadata(t.Context(), dhash.MetadataKey(oracle.SHA256(vk, nil)))
		check(t, err)
		if got, err := oracle.DecryptMetadata(sealed, vk); err != nil || !bytes.Equal(got, []byte{0x80, 0x12}) {
			t.Errorf("metadata %x, %v", got, err)
		}
	})
}

// TestModesAgree gives both modes the same input and wants every answer to be equal.
func TestModesAgree(t *testing.T) {
	sealed, compact := open(t, Options{MinLength: 4}), open(t, Options{MinLength: 4, Compact: true})
	rnd := rand.New(rand.NewPCG(1, 2))
	identity := func(n int) multihash.Multihash {
		mh, err := multihash.Sum(bytes.Repeat([]byte{1}, n), multihash.IDENTITY, -1)
		check(t, err)
		return mh
	}
	odd := []multihash.Multihash{dhash.SecondHash(hash(1)).Multihash(), identity(3), identity(4), identity(130), identity(1020), identity(1021), identity(1022)}
	both := func(f func(s *Store) error) {
		check(t, f(sealed.Store))
		check(t, f(compact.Store))
	}
	for range 300 {
		c := testContext(byte(rnd.IntN(3)), fmt.Sprint(rnd.IntN(4)))
		g := ipni.Group{Context: c, Epoch: rnd.Uint64N(5)}
		from := rnd.IntN(100)
		mhs := append(hashes(from, from+rnd.IntN(30)), odd[rnd.IntN(len(odd))]...)
		md := []byte(fmt.Sprint("metadata", rnd.IntN(9)))
		switch rnd.IntN(8) {
		case 0:
			both(func(s *Store) error { return s.Remove(t.Context(), c, g.Epoch) })
		case 1:
			both(func(s *Store) error { return s.PutMetadata(t.Context(), c, md) })
		case 2:
			if rnd.IntN(6) == 0 {
				both(func(s *Store) error {
					return s.RemoveSealed(t.Context(), ipni.TagProvider(c.Provider), nil, g.Epoch)
				})
			}
		default:
			both(func(s *Store) error { return s.Put(t.Context(), g, mhs) })
		}
		for _, mh := range append(odd, hash(rnd.IntN(140)), hash(rnd.IntN(140))) {
			if diff := cmp.Diff(sealed.contexts(t, mh), compact.contexts(t, mh)); diff != "" {
				t.Fatalf("contexts differ: %s", diff)
			}
			if diff := cmp.Diff(sealed.valueKeys(t, mh), compact.valueKeys(t, mh)); diff != "" {
				t.Fatalf("value keys differ: %s", diff)
			}
		}
		a, errA := sealed.SealedMetadata(t.Context(), g.Seal().Context)
		b, errB := compact.SealedMetadata(t.Context(), g.Seal().Context)
		if !bytes.Equal(a, b) || errors.Is(errA, fs.ErrNotExist) != errors.Is(errB, fs.ErrNotExist) {
			t.Fatalf("metadata %x, %v and %x, %v", a, errA, b, errB)
		}
	}
	both(func(s *Store) error {
		return s.Put(t.Context(), group(9, "odd", 9), slices.Concat[ipni.Multihashes](toBytes(odd)...))
	})
	for i, want := range []int{0, 0, 1, 1, 1, 1, 0} {
		if got := len(collectOf(sealed.contexts(t, odd[i]), "9 odd")); got != want {
			t.Errorf("odd multihash %d is there %d times, not %d", i, got, want)
		}
	}
	if diff := cmp.Diff(sealed.Stats(), compact.Stats()); diff != "" {
		t.Errorf("stats differ: %s", diff)
	}
	st := sealed.Stats()
	if st.Long == 0 || st.Short == 0 || st.SecondHashes == 0 {
		t.Errorf("%+v: not all kinds were met", st)
	}
	records := func(s *Store) []string { return exported(t, s, valuestore.Everything()) }
	if diff := cmp.Diff(records(sealed.Store), records(compact.Store)); diff != "" {
		t.Errorf("exports differ: %s", diff)
	}
}

func toBytes(mhs []multihash.Multihash) (all []ipni.Multihashes) {
	for _, mh := range mhs {
		all = append(all, ipni.Multihashes(mh))
	}
	return all
}

func collectOf(all []string, one string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return s != one })
}

// TestShortKeysCollide keeps one byte of each key, so that many multihashes share one.
func TestShortKeysCollide(t *testing.T) {
	f := open(t, Options{Compact: true})
	f.values.keep = 1
	check(t, f.Put(t.Context(), group(1, "a", 1), hashes(0, 2000)))
	check(t, f.Put(t.Context(), group(1, "b", 1), hashes(1000, 2000)))
	for i := range 2000 {
		if i < 1000 {
			f.expect(t, hash(i), "1 a")
		} else {
			f.expect(t, hash(i), "1 a", "1 b")
		}
		f.expect(t, hash(i+2000))
	}
}

// exported returns the records of a range with their groups, which must come in order.
func exported(t *testing.T, s *Store, r valuestore.Range) []string {
	t.Helper()
	var all []string
	for x, err := range s.ExportSealed(t.Context(), r) {
		check(t, err)
		line := fmt.Sprintf("%x %x %x %x %016x", x.Key, x.Value, x.Group.Provider, x.Group.Context, x.Group.Epoch)
		if len(all) > 0 && line <= all[len(all)-1] {
			t.Fatalf("%s after %s", line, all[len(all)-1])
		}
		all = append(all, line)
	}
	return all
}

func TestMetadata(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		c, ctx := testContext(1, "a"), t.Context()
		if _, err := f.Metadata(ctx, c); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent metadata: %v", err)
		}
		check(t, f.Put(ctx, ipni.Group{Context: c}, hashes(0, 1)))
		for _, md := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte{1}, dhash.MaxMetadata)} {
			check(t, f.PutMetadata(ctx, c, md))
			if got, err := f.Metadata(ctx, c); err != nil || !bytes.Equal(got, md) {
				t.Errorf("metadata %x, %v", got, err)
			}
		}
		if err := f.PutMetadata(ctx, c, make([]byte, dhash.MaxMetadata+1)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("too long: %v", err)
		}
		check(t, f.Remove(ctx, c, math.MaxUint64))
		if _, err := f.Metadata(ctx, c); err != nil {
			t.Errorf("removing a context removed its metadata: %v", err)
		}
		check(t, f.PutMetadata(ctx, c, nil))
		if _, err := f.Metadata(ctx, c); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("removed metadata: %v", err)
		}
		// What another wrote and does not decrypt is corrupt, not absent.
		check(t, f.PutSealedMetadata(ctx, dhash.HashValueKey(c.ValueKey()), bytes.Repeat([]byte("garbage"), 5)))
		if _, err := f.Metadata(ctx, c); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("garbage: %v", err)
		}
	})
}

func TestRemoveProviderRemovesMetadata(t *testing.T) {
	f := open(t, Options{})
	ctx := t.Context()
	for p := range byte(2) {
		for i := range 1200 { // several chunks
			c := testContext(p, fmt.Sprint(i))
			check(t, f.Put(ctx, ipni.Group{Context: c, Epoch: uint64(i)}, hashes(i%7, i%7+1)))
			check(t, f.PutMetadata(ctx, c, []byte("m")))
		}
	}
	check(t, f.RemoveProvider(ctx, ipni.TagProvider(testProvider(1))))
	left := 0
	for _, err := range f.rows.Scan(ctx, kv.Range{}) {
		check(t, err)
		left++
	}
	if want := 2 + 3*1200; left != want { // format, counter; group, tag and metadata of the other provider
		t.Errorf("%d rows are left, not %d", left, want)
	}
	if got := f.contexts(t, hash(1)); len(got) != 172 || got[0][0] != '0' {
		t.Errorf("contexts are left: %v", len(got))
	}
}

// TestRemoveResumes lets each step of a removal fail: the next one completes it, and what
// is put in between is not lost.
func TestRemoveResumes(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		boom := errors.New("boom")
		for step := range 3 {
			f := open(t, o)
			ctx := t.Context()
			check(t, f.Put(ctx, group(1, "a", 1), hashes(0, 10)))
			batches := 0
			failing := &hookKV{Store: f.rows, batch: func() error {
				if batches++; step == 2*(batches-1) {
					return boom
				}
				return nil
			}}
			if step == 1 {
				f.values.onRemove = func([]valuestore.Tag) error { return boom }
			}
			s, err := Open(ctx, f.values, failing, &o)
			check(t, err)
			if err := s.Remove(ctx, testContext(1, "a"), 2); !errors.Is(err, boom) {
				t.Fatalf("step %d: %v", step, err)
			}
			f.values.onRemove = nil
			failing.batch = nil
			f.Store = s
			if step == 1 {
				f.reopen(t, o) // as after a crash
			}
			check(t, f.Put(ctx, group(1, "a", 1), hashes(20, 21))) // memValues refuses tags that were removed
			f.expect(t, hash(20), "1 a")
			check(t, f.Remove(ctx, testContext(1, "a"), 2))
			f.expect(t, hash(0))
			f.expect(t, hash(20))
			for p, err := range f.rows.Scan(ctx, kv.Prefix([]byte{keySpace})) {
				check(t, err)
				if p.Key[1] == kindGroup || p.Key[1] == kindTag {
					t.Errorf("step %d: row %x is left", step, p.Key)
				}
			}
		}
	})
}

// hookKV fails batches on demand.
type hookKV struct {
	kv.Store
	batch func() error
}

func (h *hookKV) Batch(ctx context.Context, ops []kv.Op) error {
	if h.batch != nil {
		if err := h.batch(); err != nil {
			return err
		}
	}
	return h.Store.Batch(ctx, ops)
}

func TestFirstUsesAgree(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		s, err := Open(t.Context(), f.values, &hookKV{f.rows, func() error { dawdle(); return nil }}, &o)
		check(t, err)
		f.Store = s
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				if err := f.Put(t.Context(), group(1, "a", 1), hashes(i, i+2)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		tags, err := f.groups.of(t.Context(), group(1, "a", 1).Seal(), 0)
		if err != nil || len(tags) != 1 {
			t.Errorf("tags %v, %v", tags, err)
		}
		f.expect(t, hash(16), "1 a")
	})
}

// dawdle lets others go on first.
func dawdle() {
	for range 100 {
		runtime.Gosched()
	}
}

// TestRemoveDuringPut removes and puts at the same time. A put that begins after a removal is
// there, and memValues refuses the use of a tag that was removed.
func TestRemoveDuringPut(t *testing.T) {
	f := open(t, Options{})
	f.values.onPut = func(valuestore.Tag) error { dawdle(); return nil }
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				if err := f.Put(t.Context(), group(1, "a", 1), hashes(i, i+1)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 50 {
				if err := f.Remove(t.Context(), testContext(1, "a"), 2); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	check(t, f.Remove(t.Context(), testContext(1, "a"), 2))
	for i := range 200 {
		f.expect(t, hash(i))
	}
}

// TestTwoProcesses lets two stores write the same groups, each with tags of its own.
func TestTwoProcesses(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		var wg sync.WaitGroup
		for range 2 {
			other, err := Open(t.Context(), f.values, f.rows, &o)
			check(t, err)
			wg.Go(func() {
				for i := range 20 {
					if err := other.Put(t.Context(), group(1, fmt.Sprint(i), 1), hashes(0, 5)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := f.contexts(t, hash(3)); len(got) != 20 {
			t.Errorf("%d contexts", len(got))
		}
		check(t, f.RemoveSealed(t.Context(), ipni.TagProvider(testProvider(1)), nil, 2))
		f.expect(t, hash(3))
	})
}

func TestForeignRecords(t *testing.T) {
	f := open(t, Options{})
	ctx := t.Context()
	c := testContext(1, "a")
	key := dhash.SecondHash(hash(0))
	good := valuestore.Records{}.Append(key, dhash.Seal(nil, c.ValueKey(), hash(0)))
	bad := valuestore.Records{}.Append(key, []byte("garbage")).Append(key, dhash.Seal(nil, []byte("no value key"), hash(0)))
	check(t, f.PutSealed(ctx, ipni.SealedGroup{}, append(bad, good...)))
	check(t, f.PutSealed(ctx, group(1, "a", 3).Seal(), good))
	if diff := cmp.Diff([]string{"1 a"}, f.contexts(t, hash(0))); diff != "" {
		t.Error(diff)
	}
	if n := f.Stats().Foreign; n != 2 {
		t.Errorf("%d foreign values", n)
	}
	if got := f.valueKeys(t, hash(0)); len(got) != 3 { // the one of two groups once
		t.Errorf("%d value keys", len(got))
	}
	check(t, f.DeleteSealed(ctx, ipni.SealedGroup{}, good))
	if got := f.valueKeys(t, hash(0)); len(got) != 3 {
		t.Errorf("a delete without a group took that of a group: %d are left", len(got))
	}
	check(t, f.DeleteSealed(ctx, group(1, "a", 3).Seal(), good))
	check(t, f.DeleteSealed(ctx, ipni.SealedGroup{}, bad))
	f.expect(t, hash(0))
	if err := f.PutSealed(ctx, ipni.SealedGroup{}, good[:40]); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("cut records: %v", err)
	}
}

func TestCompactRefusesForeign(t *testing.T) {
	f := open(t, Options{Compact: true})
	rec := valuestore.Records{}.Append(dhash.Key{}, []byte("x"))
	for _, err := range []error{
		f.PutSealed(t.Context(), ipni.SealedGroup{}, rec),
		f.DeleteSealed(t.Context(), ipni.SealedGroup{}, rec),
	} {
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "mode sealed") {
			t.Errorf("%v", err)
		}
	}
}

func TestPutRejects(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		for name, err := range map[string]error{
			"no provider":  f.Put(t.Context(), ipni.Group{}, hashes(0, 1)),
			"long context": f.Put(t.Context(), group(1, strings.Repeat("x", 65), 1), hashes(0, 1)),
			"bad provider": f.Put(t.Context(), ipni.Group{Context: ipni.Context{Provider: "x"}}, hashes(0, 1)),
			"cut":          f.Put(t.Context(), group(1, "a", 1), hashes(0, 5000)[:5000*34-1]),
			"two ids":      f.Put(t.Context(), ipni.Group{Context: ipni.Context{Provider: testProvider(1) + "x"}}, hashes(0, 1)),
			"metadata":     f.PutMetadata(t.Context(), ipni.Context{}, []byte{1}),
		} {
			if !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("%s: %v", name, err)
			}
		}
		check(t, f.Put(t.Context(), group(1, "a", 1), nil))
		if f.values.puts != 0 {
			t.Errorf("%d writes", f.values.puts)
		}
	})
}

// TestStreams stops a lookup of a key that has many values after the first.
func TestStreams(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		for i := range 100 {
			check(t, f.Put(t.Context(), group(1, fmt.Sprint(i), 1), hashes(0, 1)))
		}
		gets := 0
		s, err := Open(t.Context(), f.values, &countKV{f.rows, &gets}, &o)
		check(t, err)
		for range s.Contexts(t.Context(), hash(0)) {
			break
		}
		for range s.ValueKeys(t.Context(), dhash.SecondHash(hash(0))) {
			break
		}
		if gets > 2 {
			t.Errorf("%d rows were read for the first of many values", gets)
		}
	})
}

type countKV struct {
	kv.Store
	gets *int
}

func (c *countKV) Get(ctx context.Context, key []byte) ([]byte, error) {
	*c.gets++
	return c.Store.Get(ctx, key)
}

func TestCheck(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		ctx := t.Context()
		g := group(1, "a", 1)
		second := dhash.SecondHash(hash(0)).Multihash()
		missing := func(mhs ipni.Multihashes) int {
			t.Helper()
			n := 0
			for _, err := range f.Check(ctx, g, mhs) {
				check(t, err)
				n++
			}
			return n
		}
		if n := missing(append(hashes(0, 5), second...)); n != 5 {
			t.Errorf("%d are missing of an empty store", n)
		}
		check(t, f.Put(ctx, group(1, "a", 0), hashes(0, 3))) // the same values under another tag, which comes first
		check(t, f.Put(ctx, g, hashes(0, 5)))
		check(t, f.Put(ctx, group(1, "a", 2), hashes(5, 7))) // another group
		check(t, f.Put(ctx, group(2, "a", 1), hashes(0, 9)))
		if n := missing(append(hashes(0, 9), second...)); n != 4 {
			t.Errorf("%d are missing", n)
		}
	})
}

func TestExport(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f, to := open(t, o), open(t, Options{})
		ctx := t.Context()
		check(t, f.Put(ctx, group(1, "a", 1), hashes(0, 20000)))
		check(t, f.Put(ctx, group(1, "b", 2), hashes(0, 30)))
		for epoch := uint64(9); epoch > 1; epoch-- { // of which the later ones have the smaller tags
			check(t, f.Put(ctx, group(1, "a", epoch), hashes(7, 8)))
		}
		for i := range 200 { // a hot key
			check(t, f.Put(ctx, group(2, fmt.Sprint(i), 1), hashes(8, 9)))
		}
		check(t, f.PutMetadata(ctx, testContext(1, "a"), []byte("m")))
		check(t, f.PutMetadata(ctx, testContext(1, "b"), []byte("n")))
		const total = 20000 + 30 + 8 + 200
		parts := 0
		for b, err := range f.Export(ctx, valuestore.Range{}) {
			t.Errorf("nothing is in batches: %v, %v", b, err)
		}
		for part := range 2 {
			r := valuestore.Everything()
			// A bound in the middle of what a value store with short keys keeps.
			if edge := dhash.SecondHash(hash(7)); part == 0 {
				r.To = edge
			} else {
				r.From = edge
				r.From[31]++
			}
			parts += len(exported(t, f.Store, r))
			batches := 0
			for b, err := range f.Export(ctx, r) {
				check(t, err)
				if batches++; len(b.Records) > exportBytes+4096 {
					t.Errorf("a batch of %d bytes", len(b.Records))
				}
				check(t, to.PutSealed(ctx, b.SealedGroup, b.Records))
			}
			if batches > 220 {
				t.Errorf("%d batches", batches)
			}
		}
		all := valuestore.Everything()
		if got := exported(t, f.Store, all); len(got) != total || parts != total || !slices.Equal(got, exported(t, to.Store, all)) {
			t.Errorf("%d records, and %d in parts, or what was shipped differs", len(got), parts)
		}
		for m, err := range f.ExportMetadata(ctx, dhash.MetadataKey{}, dhash.MetadataKey(all.To)) {
			check(t, err)
			check(t, to.PutSealedMetadata(ctx, m.Key, m.Sealed))
		}
		for n, want := range map[int]int{3: 2, 7: 10, 8: 202, 20000: 0} {
			key := dhash.SecondHash(hash(n))
			if one := exported(t, f.Store, valuestore.Range{From: key, To: key}); len(one) != want {
				t.Errorf("%d records of multihash %d, not %d", len(one), n, want)
			}
		}
		to.expect(t, hash(7), "1 a", "1 b")
		if got, err := to.Metadata(ctx, testContext(1, "b")); err != nil || string(got) != "n" {
			t.Errorf("metadata %q, %v", got, err)
		}
		check(t, to.Remove(ctx, testContext(1, "a"), 10)) // the groups came with their records
		to.expect(t, hash(7), "1 b")
	})
}

// TestExportOnce has a group with two tags, as two processes make them, and keys that
// share all that is kept of them.
func TestExportOnce(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		f.values.keep = 1
		if !o.Compact {
			f.values.keep = dhash.KeySize
		}
		other, err := Open(t.Context(), f.values, f.rows, &o)
		check(t, err)
		tags := map[valuestore.Tag]bool{}
		f.values.onPut = func(tag valuestore.Tag) error {
			if tags[tag] = true; len(tags) == 1 {
				check(t, other.kv.Batch(t.Context(), []kv.Op{kv.Delete(groupKey(group(1, "a", 1).Seal(), tag))})) // not seen yet
			}
			return nil
		}
		check(t, f.Put(t.Context(), group(1, "a", 1), hashes(0, 2000)))
		check(t, other.Put(t.Context(), group(1, "a", 1), hashes(1000, 2100)))
		if len(tags) != 2 {
			t.Fatalf("%d tags", len(tags))
		}
		if n := len(exported(t, f.Store, valuestore.Everything())); n != 2100 {
			t.Errorf("%d records", n)
		}
	})
}

func TestExportEnds(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		f := open(t, o)
		check(t, f.Put(t.Context(), group(1, "a", 1), hashes(0, 20)))
		check(t, f.Put(t.Context(), group(1, "b", 1), hashes(0, 20)))
		check(t, f.PutMetadata(t.Context(), testContext(1, "a"), []byte("m")))
		for n := range byte(dhash.Overhead) { // rows that an earlier version took
			key, short := dhash.MetadataKey{n}, make([]byte, n)
			check(t, f.rows.Batch(t.Context(), []kv.Op{kv.Put(metadataKey(key), short)}))
			if err := f.PutSealedMetadata(t.Context(), key, short); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("metadata of %d bytes: %v", n, err)
			}
		}
		for stop := range 40 {
			n := 0
			for _, err := range f.ExportSealed(t.Context(), valuestore.Everything()) {
				check(t, err)
				if n++; n > stop {
					break
				}
			}
			if n != stop+1 {
				t.Fatalf("%d records before a stop after %d", n, stop+1)
			}
		}
		n := 0
		for m, err := range f.ExportMetadata(t.Context(), dhash.MetadataKey{}, dhash.MetadataKey{0xff}) {
			check(t, err)
			if n++; len(m.Sealed) < dhash.Overhead {
				t.Errorf("metadata of %d bytes", len(m.Sealed))
			}
		}
		if n != 1 {
			t.Errorf("%d metadata", n)
		}
		row := tagKey(1)
		check(t, f.rows.Batch(t.Context(), []kv.Op{kv.Put(row, []byte("garbage"))}))
		f.reopen(t, o)
		var last error
		for _, err := range f.ExportSealed(t.Context(), valuestore.Everything()) {
			last = err
		}
		if !errors.Is(last, digest.ErrMismatch) {
			t.Errorf("a corrupt row: %v", last)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	f := open(t, Options{})
	if _, err := Open(t.Context(), f.values, f.rows, &Options{Compact: true}); err == nil || !strings.Contains(err.Error(), "written in sealed mode") {
		t.Errorf("another mode: %v", err)
	}
	for _, row := range []string{"\x02s", "\x01", "\x01x", ""} {
		check(t, f.rows.Batch(t.Context(), []kv.Op{kv.Put(formatKey(), []byte(row))}))
		if _, err := Open(t.Context(), f.values, f.rows, nil); err == nil {
			t.Errorf("opened format %q", row)
		}
	}
}

func TestCorruptRows(t *testing.T) {
	f := open(t, Options{Compact: true})
	ctx := t.Context()
	check(t, f.Put(ctx, group(1, "a", 1), hashes(0, 1)))
	rec := []kv.Op{kv.Put(tagKey(1), ownerValue(group(1, "a", 1).Seal(), testContext(1, "b").ValueKey()))}
	check(t, f.rows.Batch(ctx, rec))
	f.reopen(t, Options{Compact: true})
	for _, err := range f.Contexts(ctx, hash(0)) {
		if !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("a tag of another context: %v", err)
		}
	}
}

// A node keeps who has what, and answers those who hash what they look for.
func ExampleStore() {
	ctx := context.Background()
	s, err := Open(ctx, newMemValues(false), memkv.New(), nil)
	if err != nil {
		panic(err)
	}
	c := testContext(1, "my files")
	if err := s.Put(ctx, ipni.Group{Context: c, Epoch: 1}, hashes(0, 100)); err != nil {
		panic(err)
	}
	for sealed := range s.ValueKeys(ctx, dhash.SecondHash(hash(42))) {
		valueKey, _ := dhash.Open(nil, sealed, hash(42))
		_, id, _ := dhash.SplitValueKey(valueKey)
		fmt.Printf("%s\n", id)
	}
	// Output: my files
}

// TestRemoveInParts ends removals of a provider by their context, after some of it and before any.
func TestRemoveInParts(t *testing.T) {
	f := open(t, Options{})
	const groups = 3 * removeChunk / 2
	for i := range groups {
		check(t, f.Put(t.Context(), ipni.Group{Context: testContext(1, fmt.Sprint(i)), Epoch: 1}, hashes(0, 1)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	f.values.onRemove = func([]valuestore.Tag) error {
		if calls++; calls == 2 {
			cancel()
		}
		return ctx.Err()
	}
	tag := ipni.TagProvider(testContext(1, "").Provider)
	if err := f.RemoveSealed(ctx, tag, nil, 2); !errors.Is(err, ipni.ErrUnfinished) || !errors.Is(err, context.Canceled) {
		t.Errorf("after a part: %v", err)
	}
	if n := len(exported(t, f.Store, valuestore.Everything())); n != groups-removeChunk {
		t.Errorf("%d records are left", n)
	}
	if err := f.RemoveSealed(ctx, tag, nil, 2); errors.Is(err, ipni.ErrUnfinished) || !errors.Is(err, context.Canceled) {
		t.Errorf("before any: %v", err)
	}
	f.values.onRemove = nil
	check(t, f.RemoveSealed(t.Context(), tag, nil, 2))
	if n := len(exported(t, f.Store, valuestore.Everything())); n != 0 {
		t.Errorf("%d records are left", n)
	}
}
