package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/mirror"
)

var errDown = errors.New("it is down")

// down is a store that fails while it is so.
type down struct {
	*memblob.Store
	err  error
	gets int
}

func (d *down) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	d.gets++
	if d.err != nil {
		return nil, d.err
	}
	return d.Store.Get(ctx, key, off, n)
}

// TestModes asks for a head, an advertisement and entries of which the mirror, the publisher, both
// or none are up.
func TestModes(t *testing.T) {
	type answers struct{ head, ad, entries string }
	const ok, absent, failed = "ok", "absent", "failed"
	all := func(s string) answers { return answers{s, s, s} }
	for _, c := range []struct {
		name              string
		mode              mirror.Mode
		mirror, publisher string // up, down, or empty
		want              answers
		quiet             bool // the publisher is not asked for blocks
	}{
		{"only", mirror.Only, "up", "up", all(ok), true},
		{"only, empty", mirror.Only, "empty", "up", answers{absent, absent, failed}, true},
		{"only, down", mirror.Only, "down", "up", all(failed), true},
		{"first", mirror.First, "up", "up", all(ok), true},
		{"first, no publisher", mirror.First, "up", "down", all(ok), true},
		{"first, publisher empty", mirror.First, "up", "empty", answers{absent, ok, ok}, true},
		{"first, mirror empty", mirror.First, "empty", "up", all(ok), false},
		{"first, mirror down", mirror.First, "down", "up", all(ok), false},
		{"first, mirror empty, no publisher", mirror.First, "empty", "down", all(failed), false},
		{"first, mirror down, publisher empty", mirror.First, "down", "empty", answers{absent, failed, failed}, false},
		{"first, both empty", mirror.First, "empty", "empty", answers{absent, absent, failed}, false},
		{"last", mirror.Last, "up", "up", all(ok), false},
		{"last, no publisher", mirror.Last, "up", "down", all(ok), false},
		{"last, publisher empty", mirror.Last, "up", "empty", answers{absent, ok, ok}, false},
		{"last, both down", mirror.Last, "down", "down", all(failed), false},
		{"last, both empty", mirror.Last, "empty", "empty", answers{absent, absent, failed}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPublisher(1)
			id := p.put(t, "a", 10)
			entries := p.owner[id][0].CID
			s := &down{Store: memblob.New()}
			if c.mirror == "up" {
				p.record(t, openWriter(t, s.Store, nil))
			}
			m := openMirror(t, s, nil)
			switch c.publisher {
			case "down":
				p.Fail(errDown)
			case "empty":
				p = newPublisher(1)
			}
			if c.mirror == "down" {
				s.err = errDown
			}
			chain := m.Chain(p.ID, p, c.mode)
			defer chain.Close()
			say := func(err error) string {
				switch {
				case err == nil:
					return ok
				case errors.Is(err, fs.ErrNotExist):
					return absent
				}
				return failed
			}
			var got answers
			_, err := chain.Head(t.Context())
			got.head = say(err)
			_, err = chain.Block(t.Context(), id, ipni.Advertisement)
			got.ad = say(err)
			_, err = chain.Block(t.Context(), entries, ipni.EntryChunk)
			got.entries = say(err)
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if asked := p.Asked(); (len(asked) == 0) != c.quiet {
				t.Errorf("the publisher was asked for %v", asked)
			}
		})
	}
}

// TestHAMT keeps nodes of a HAMT, which the mirror takes as they come, in the order in which they were
// read; and reads them in others.
func TestHAMT(t *testing.T) {
	p := newPublisher(1)
	var nodes []block.Block
	for i := range 40 {
		data := fmt.Appendf(nil, `{"hamt":%d}`, i)
		d, err := digest.Sum(digest.SHA256, data)
		must(t, err)
		nodes = append(nodes, block.Block{CID: d.CID(cid.DagJSON), Data: data})
	}
	id := p.advertise(t, "a", nodes[0].CID, append(nodes, nodes[3])) // one that is there twice
	for _, plain := range []bool{false, true} {
		s := memblob.New()
		p.record(t, openWriter(t, s, &mirror.Options{Plain: plain}))
		for name, order := range map[string][]int{
			"same": {0, 1, 2, 3, 4, 39}, "other": {0, 39, 7, 8, 1, 0}, "repeated": {0, 0, 5, 5},
		} {
			c := openMirror(t, s, nil).Chain(p.ID, nil, mirror.Only)
			_, err := c.Block(t.Context(), id, ipni.Advertisement)
			must(t, err)
			for _, i := range order {
				b, err := c.Block(t.Context(), nodes[i].CID, ipni.EntryChunk)
				if err != nil || string(b) != string(nodes[i].Data) {
					t.Errorf("plain=%v %s: node %d: %q, %v", plain, name, i, b, err)
				}
			}
			must(t, c.Close())
		}
	}
}

// TestTogether reads several advertisements at once, more than are held open.
func TestTogether(t *testing.T) {
	p := newPublisher(1)
	for i := range 12 {
		p.put(t, fmt.Sprint(i), 20, 20, 20)
	}
	s := memblob.New()
	p.record(t, openWriter(t, s, nil))
	c := openMirror(t, s, nil).Chain(p.ID, nil, mirror.Only)
	defer c.Close()
	for id := range p.owner {
		_, err := c.Block(t.Context(), id, ipni.Advertisement)
		must(t, err)
	}
	var wg sync.WaitGroup
	for id := range p.owner {
		wg.Go(func() {
			for _, b := range p.owner[id] {
				got, err := c.Block(t.Context(), b.CID, ipni.EntryChunk)
				if err != nil || string(got) != string(b.Data) {
					t.Errorf("%s: %d bytes, %v", b.CID, len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

// brittle is a store whose open objects break when it is told.
type brittle struct {
	*memblob.Store
	broken int // a break makes every object that is open fail
	gets   int
}

func (b *brittle) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	b.gets++
	o, err := b.Store.Get(ctx, key, off, n)
	return &brittleObject{o, b, b.broken}, err
}

type brittleObject struct {
	blob.Object
	store *brittle
	born  int
}

func (o *brittleObject) Read(p []byte) (int, error) {
	if o.born != o.store.broken {
		return 0, errDown
	}
	return o.Object.Read(p[:min(len(p), 4096)])
}

// TestResume reads on after the stream of a compressed archive broke between two calls.
func TestResume(t *testing.T) {
	p := newPublisher(1)
	id := p.put(t, "a", slices.Repeat([]int{5000}, 6)...)
	s := &brittle{Store: memblob.New()}
	p.record(t, openWriter(t, s.Store, nil))
	c := openMirror(t, s, nil).Chain(p.ID, nil, mirror.Only)
	defer c.Close()
	_, err := c.Block(t.Context(), id, ipni.Advertisement)
	must(t, err)
	for i, b := range p.owner[id] {
		if i == 2 || i == 4 {
			s.broken++
		}
		got, err := c.Block(t.Context(), b.CID, ipni.EntryChunk)
		must(t, err)
		if string(got) != string(b.Data) {
			t.Error("wrong block")
		}
	}
	if s.gets > 8 {
		t.Errorf("the store was asked %d times", s.gets)
	}
}
