package entries_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/entries"
)

// blocks is blocks by CID, with what was asked of them.
type blocks struct {
	mu      sync.Mutex
	data    map[cid.Cid][]byte
	fetched map[cid.Cid]int
	flying  int
	most    int
	delay   time.Duration
}

func newBlocks() *blocks {
	return &blocks{data: map[cid.Cid][]byte{}, fetched: map[cid.Cid]int{}}
}

func (b *blocks) fetch(ctx context.Context, c cid.Cid) ([]byte, error) {
	b.mu.Lock()
	b.fetched[c]++
	b.flying++
	b.most = max(b.most, b.flying)
	data, ok := b.data[c]
	b.mu.Unlock()
	if b.delay > 0 {
		select {
		case <-time.After(b.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flying--
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func hash(n int) multihash.Multihash {
	mh, err := multihash.Sum(fmt.Append(nil, n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh
}

// list makes chunks of two multihashes each.
func (b *blocks) list(t *testing.T, chunks int) cid.Cid {
	t.Helper()
	next := cid.Undef
	for i := chunks - 1; i >= 0; i-- {
		c, data, err := ad.EncodeChunk(ipni.Multihashes(append(hash(2*i), hash(2*i+1)...)), next)
		if err != nil {
			t.Fatal(err)
		}
		next, b.data[c] = c, data
	}
	return next
}

// large makes chunks of 1 MB, as publishers do.
func (b *blocks) large(t *testing.T, chunks int) cid.Cid {
	t.Helper()
	next := cid.Undef
	for i := range chunks {
		mhs := ipni.Multihashes(bytes.Repeat(hash(i), 15000))
		c, data, err := ad.EncodeChunk(mhs, next)
		if err != nil {
			t.Fatal(err)
		}
		next, b.data[c] = c, data
	}
	return next
}

// hamt reads the HAMT that index-provider wrote, of the sha2-256 of the numbers below 40.
func (b *blocks) hamt(t *testing.T) cid.Cid {
	t.Helper()
	text, err := os.ReadFile("../../ad/testdata/hamt.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Scan()
	root := cid.MustParse(lines.Text())
	for lines.Scan() {
		var c, data string
		if _, err := fmt.Sscan(lines.Text(), &c, &data); err != nil {
			t.Fatal(err)
		}
		if b.data[cid.MustParse(c)], err = base64.StdEncoding.DecodeString(data); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// read returns how often each multihash comes, and the last block.
func read(t *testing.T, s *entries.Stream) (map[string]int, entries.Block, error) {
	t.Helper()
	defer s.Close()
	got := map[string]int{}
	var last entries.Block
	for b, err := range s.All(nil) {
		if err != nil {
			return got, last, err
		}
		for mh, err := range b.Multihashes.All() {
			if err != nil {
				t.Fatal(err)
			}
			got[string(mh)]++
		}
		last = b
	}
	return got, last, nil
}

func want(n int) map[string]int {
	m := map[string]int{}
	for i := range n {
		m[string(hash(i))] = 1
	}
	return m
}

func TestStream(t *testing.T) {
	for name, build := range map[string]func(*blocks) cid.Cid{
		"list": func(b *blocks) cid.Cid { return b.list(t, 20) },
		"HAMT": func(b *blocks) cid.Cid { return b.hamt(t) },
	} {
		b := newBlocks()
		got, last, err := read(t, entries.Start(t.Context(), []cid.Cid{build(b)}, entries.Count{}, entries.Limits{}, b.fetch))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(want(40), got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if last.Count.Blocks != uint64(len(b.fetched)) || last.Count.Multihashes != 40 || last.Rest != nil {
			t.Errorf("%s: last block %+v", name, last)
		}
		for c, n := range b.fetched {
			if n != 1 {
				t.Errorf("%s: %s was fetched %d times", name, c, n)
			}
		}
	}
}

// A stream goes on where another one was left, and fetches nothing again.
func TestResume(t *testing.T) {
	for name, build := range map[string]func(*blocks) cid.Cid{
		"list": func(b *blocks) cid.Cid { return b.list(t, 20) },
		"HAMT": func(b *blocks) cid.Cid { return b.hamt(t) },
	} {
		b := newBlocks()
		root := build(b)
		_, all, err := read(t, entries.Start(t.Context(), []cid.Cid{root}, entries.Count{}, entries.Limits{}, b.fetch))
		if err != nil {
			t.Fatal(err)
		}
		for stop := uint64(1); stop < all.Count.Blocks; stop++ {
			got := map[string]int{}
			var left entries.Block
			s := entries.Start(t.Context(), []cid.Cid{root}, entries.Count{}, entries.Limits{}, b.fetch)
			for block, err := range s.All(nil) {
				if err != nil {
					t.Fatal(err)
				}
				for mh := range block.Multihashes.All() {
					got[string(mh)]++
				}
				if left = block; block.Count.Blocks == stop {
					break
				}
			}
			s.Close()
			rest, last, err := read(t, entries.Start(t.Context(), left.Rest, left.Count, entries.Limits{}, b.fetch))
			if err != nil || last.Count != all.Count {
				t.Errorf("%s after %d blocks: %+v, %v; want %+v", name, stop, last.Count, err, all.Count)
			}
			for mh, n := range rest {
				got[mh] += n
			}
			if d := cmp.Diff(want(40), got); d != "" {
				t.Errorf("%s after %d blocks (-want +got):\n%s", name, stop, d)
			}
			_, _, err = read(t, entries.Start(t.Context(), left.Rest, left.Count, entries.Limits{Blocks: all.Count.Blocks - 1}, b.fetch))
			if !errors.Is(err, entries.ErrBad) {
				t.Errorf("%s: a limit that counts what was before: %v", name, err)
			}
		}
	}
}

// What was fetched when a stream is stopped is not lost.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocks()
		s := entries.Start(t.Context(), []cid.Cid{b.list(t, 5)}, entries.Count{}, entries.Limits{}, b.fetch)
		defer s.Close()
		synctest.Wait()
		b.delay = time.Hour
		s.Stop()
		n := 0
		for _, err := range s.All(nil) {
			if err != nil {
				t.Error(err)
			}
			n++
		}
		if n != 5 {
			t.Errorf("%d blocks, want all that were fetched", n)
		}
	})
}

// Who waits for a block tells so, and when it came.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocks()
		b.delay = time.Second
		s := entries.Start(t.Context(), []cid.Cid{b.list(t, 3)}, entries.Count{}, entries.Limits{}, b.fetch)
		defer s.Close()
		began, waits := 0, 0
		wait := func() func() {
			began++
			at := time.Now()
			return func() {
				if time.Since(at) == time.Second {
					waits++
				}
			}
		}
		for _, err := range s.All(wait) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if waits != 3 || began < 3 || began > 4 { // and perhaps for the end
			t.Errorf("%d waits began, %d were for a block, want 3", began, waits)
		}
	})
}

func TestLimits(t *testing.T) {
	for name, x := range map[string]struct {
		limits entries.Limits
		good   bool
	}{
		"none":             {entries.Limits{}, true},
		"all just fit":     {entries.Limits{Blocks: 10, Multihashes: 20, Bytes: 5000}, true},
		"blocks":           {entries.Limits{Blocks: 9}, false},
		"multihashes":      {entries.Limits{Multihashes: 19}, false},
		"bytes":            {entries.Limits{Bytes: 500}, false},
		"one block, wants": {entries.Limits{Blocks: 1}, false},
	} {
		b := newBlocks()
		_, _, err := read(t, entries.Start(t.Context(), []cid.Cid{b.list(t, 10)}, entries.Count{}, x.limits, b.fetch))
		if (err == nil) != x.good || err != nil && !errors.Is(err, entries.ErrBad) {
			t.Errorf("%s: %v", name, err)
		}
		if x.limits.Blocks > 0 && len(b.fetched) > int(x.limits.Blocks) {
			t.Errorf("%s: %d blocks were fetched", name, len(b.fetched))
		}
	}
}

// A HAMT with more nodes than allowed is refused by its links, before they are fetched.
func TestLimitOfHAMT(t *testing.T) {
	b := newBlocks()
	_, _, err := read(t, entries.Start(t.Context(), []cid.Cid{b.hamt(t)}, entries.Count{}, entries.Limits{Blocks: 3}, b.fetch))
	if !errors.Is(err, entries.ErrBad) || len(b.fetched) != 1 {
		t.Errorf("%d blocks were fetched: %v", len(b.fetched), err)
	}
}

func TestErrors(t *testing.T) {
	b := newBlocks()
	root := b.list(t, 3)
	var missing cid.Cid
	for c := range b.data {
		if c != root {
			missing = c
		}
	}
	block := b.data[missing]
	delete(b.data, missing)
	if _, _, err := read(t, entries.Start(t.Context(), []cid.Cid{root}, entries.Count{}, entries.Limits{}, b.fetch)); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, entries.ErrBad) {
		t.Errorf("a missing block: %v", err)
	}
	b.data[missing] = append(block, ' ')
	if _, _, err := read(t, entries.Start(t.Context(), []cid.Cid{root}, entries.Count{}, entries.Limits{}, b.fetch)); !errors.Is(err, entries.ErrBad) {
		t.Errorf("a changed block: %v", err)
	}
}

// What comes next is fetched while what came before is used: many blocks that are small, few
// that are large, and no more than a few at once.
func TestAhead(t *testing.T) {
	for name, x := range map[string]struct {
		build       func(*blocks) cid.Cid
		least, most int // blocks that are held
	}{
		"list":  {func(b *blocks) cid.Cid { return b.list(t, 200) }, 50, 70},
		"large": {func(b *blocks) cid.Cid { return b.large(t, 30) }, 3, 14},
		"HAMT":  {func(b *blocks) cid.Cid { return b.hamt(t) }, 3, 70},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBlocks()
			b.delay = time.Second
			s := entries.Start(t.Context(), []cid.Cid{x.build(b)}, entries.Count{}, entries.Limits{}, b.fetch)
			defer s.Close()
			time.Sleep(time.Hour)
			synctest.Wait()
			held, size := 0, 0
			for c, n := range b.fetched {
				held += n
				size += n * len(b.data[c])
			}
			if held < x.least || held > x.most || size > entries.MaxMemory {
				t.Errorf("%s: %d blocks of %d bytes are held before the first is taken, want from %d to %d, and at most %d bytes",
					name, held, size, x.least, x.most, entries.MaxMemory)
			}
			if b.most > 4 {
				t.Errorf("%s: %d fetches at once", name, b.most)
			}
		})
	}
}

// The fetch of the next chunk begins before the one at hand is decoded: even if that turns
// out to be bad.
func TestHint(t *testing.T) {
	b := newBlocks()
	next := b.list(t, 1)
	text := []byte(`{"Entries":[{"/":{"bytes":"AAAA"}}],"Next":{"/":"` + next.String() + `"}}`)
	sum, err := multihash.Sum(text, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	bad := cid.NewCidV1(cid.DagJSON, sum)
	b.data[bad] = text
	if _, _, err := read(t, entries.Start(t.Context(), []cid.Cid{bad}, entries.Count{}, entries.Limits{}, b.fetch)); !errors.Is(err, entries.ErrBad) {
		t.Error(err)
	}
	if b.fetched[next] != 1 {
		t.Errorf("the next chunk was fetched %d times", b.fetched[next])
	}
}

// Close ends fetches that are under way.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocks()
		b.delay = time.Hour
		s := entries.Start(t.Context(), []cid.Cid{b.list(t, 3)}, entries.Count{}, entries.Limits{}, b.fetch)
		synctest.Wait()
		began := time.Now()
		s.Close()
		if took := time.Since(began); took > 0 {
			t.Errorf("took %s", took)
		}
	})
}

func ExampleStart() {
	c, block, err := ad.EncodeChunk(ipni.Multihashes(append(hash(1), hash(2)...)), cid.Undef)
	if err != nil {
		panic(err)
	}
	fetch := func(context.Context, cid.Cid) ([]byte, error) { return block, nil }
	s := entries.Start(context.Background(), []cid.Cid{c}, entries.Count{}, entries.Limits{Blocks: 400}, fetch)
	defer s.Close()
	for b, err := range s.All(nil) {
		fmt.Println(b.Entries.Count, err)
	}
	// Output: 2 <nil>
}
