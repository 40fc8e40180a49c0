package storehttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/rebalance"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

var _ interface {
	cluster.Node
	rebalance.Importer
} = (*storehttp.Client)(nil)

// TestShip moves a partition from one node to another.
func TestShip(t *testing.T) {
	from, to := newMemory(), newMemory()
	for i, e := range []byte{0x00, 0x3f, 0x40, 0xff} {
		from.records[record{group(byte(i)), dhash.Key{e}, strings.Repeat("v", dhash.Overhead)}] = true
		from.metadata[dhash.MetadataKey{e}] = bytes.Repeat([]byte{e}, dhash.MaxMetadata+dhash.Overhead)
	}
	source, sink := newClient(t, node(t, from, nil), nil), newClient(t, node(t, to, nil), nil)
	ship := func(a, b byte) error {
		r := valuestore.Everything()
		r.From[0], r.To[0] = a, b
		for f, err := range source.Export(t.Context(), r) {
			if err != nil {
				return err
			}
			if err := sink.WriteFrame(t.Context(), false, f); err != nil {
				return err
			}
		}
		return nil
	}
	if err := ship(0x00, 0x3f); err != nil || len(to.records) != 2 || len(to.metadata) != 2 {
		t.Errorf("%d records, %d metadata, %v", len(to.records), len(to.metadata), err)
	}
	if err := ship(0x40, 0xff); err != nil || !cmp.Equal(to.records, from.records, cmp.AllowUnexported(record{})) || !cmp.Equal(to.metadata, from.metadata) {
		t.Errorf("%d records, %d metadata, %v", len(to.records), len(to.metadata), err)
	}
	if err := sink.WriteFrame(t.Context(), true, storehttp.Frame{Kind: storehttp.Metadata, Records: valuestore.Records(nil).Append(dhash.Key{0xff}, []byte("x"))}); err != nil || len(to.metadata) != 3 {
		t.Errorf("delete metadata: %v", err)
	}
	from.err = errors.New("disk on fire")
	if err := ship(0x00, 0xff); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a cut export: %v", err)
	}
	for e := range records(20_000).All() { // more than is sent at once
		from.records[record{group(1), e.Key, string(e.Value)}] = true
	}
	res, err := http.Get(node(t, from, nil) + "/partition/00-ff")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("a cut export looks whole")
	}
}

// randomKey is one of few keys, so that keys have many values.
func randomKey(rnd *rand.Rand, n int) dhash.Key {
	return dhash.SecondHash(fmt.Append(nil, "key ", rnd.IntN(n)))
}

// randomRange begins and ends anywhere, often in the midst of a partition.
func randomRange(rnd *rand.Rand, keys int) valuestore.Range {
	r := valuestore.Everything()
	switch rnd.IntN(4) {
	case 0:
		r.From, r.To = randomKey(rnd, keys), randomKey(rnd, keys)
	case 1:
		r = cluster.PartitionRange(byte(rnd.IntN(256)))
	case 2:
		r.From = randomKey(rnd, keys)
	}
	if bytes.Compare(r.From[:], r.To[:]) > 0 {
		r.From, r.To = r.To, r.From
	}
	return r
}

func cloneRecord(x cluster.Record) cluster.Record {
	x.Value = bytes.Clone(x.Value)
	return x
}

func cloneMetadata(m cluster.Metadata) cluster.Metadata {
	m.Sealed = bytes.Clone(m.Sealed)
	return m
}

// TestExport exports many windows, with groups that are mixed, hot keys and values of many groups.
func TestExport(t *testing.T) {
	m := newMemory()
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		v := fmt.Sprintf("%0102d", rnd.IntN(500))
		m.records[record{group(byte(rnd.IntN(60))), randomKey(rnd, 3000), v}] = true
	}
	hot := dhash.SecondHash([]byte("hot"))
	for i := range 14_000 {
		m.records[record{group(1), hot, fmt.Sprintf("%0102d", i)}] = true
		g := group(2)
		g.Epoch = rnd.Uint64()
		m.records[record{g, hot, "one value"}] = true
	}
	for range 1000 {
		m.metadata[dhash.MetadataKey(randomKey(rnd, 3000))] = make([]byte, 1+rnd.IntN(dhash.MaxMetadata+dhash.Overhead))
	}
	c := newClient(t, node(t, m, nil), nil)
	for i := range 12 {
		r := randomRange(rnd, 3000)
		if i == 0 {
			r = valuestore.Everything()
		}
		want, _ := collect(m.ExportSealed(t.Context(), r), cloneRecord)
		if got, err := collect(c.ExportSealed(t.Context(), r), cloneRecord); err != nil || !slices.EqualFunc(got, want, func(a, b cluster.Record) bool { return compareRecords(a, b) == 0 }) {
			t.Errorf("%d records of %x, not %d, or in another order: %v", len(got), r, len(want), err)
		}
		metadata, _ := collect(m.ExportMetadata(t.Context(), r), cloneMetadata)
		if got, err := collect(c.ExportMetadata(t.Context(), r), cloneMetadata); err != nil || !slices.EqualFunc(got, metadata, func(a, b cluster.Metadata) bool { return a.Key == b.Key && bytes.Equal(a.Sealed, b.Sealed) }) {
			t.Errorf("%d metadata of %x, not %d, or in another order: %v", len(got), r, len(metadata), err)
		}
	}
	for n := range 3 { // a reader that has enough
		seen := 0
		for range c.ExportSealed(t.Context(), valuestore.Everything()) {
			if seen++; seen > n*5000 {
				break
			}
		}
	}
}

// TestExportCost wants a header for each group of a window, not for each record.
func TestExportCost(t *testing.T) {
	m := newMemory()
	all := records(20_000)
	i := 0
	for e := range all.All() {
		m.records[record{group(byte(i % 20)), e.Key, string(e.Value)}] = true
		i++
	}
	c := newClient(t, node(t, m, nil), nil)
	frames, marks := 0, 0
	for f, err := range c.Export(t.Context(), valuestore.Everything()) {
		if err != nil {
			t.Fatal(err)
		}
		if frames++; f.Kind == storehttp.Mark {
			marks++
		}
	}
	if windows := len(all)>>20 + 1; marks > windows+1 || frames > (windows+1)*21 {
		t.Errorf("%d frames and %d marks for %d bytes", frames, marks, len(all))
	}
}

// TestImport writes records of many groups at once.
func TestImport(t *testing.T) {
	m := newMemory()
	c := newClient(t, node(t, m, nil), nil)
	rnd := rand.New(rand.NewPCG(2, 2))
	var all []cluster.Record
	for i := range 5000 {
		g := group(byte(i))
		g.Epoch = uint64(i) % 700
		all = append(all, cluster.Record{Group: g, Key: randomKey(rnd, 1000), Value: fmt.Appendf(nil, "%040d", i)})
	}
	if err := c.ImportSealed(t.Context(), all, nil); err != nil || len(m.records) != len(all) {
		t.Fatalf("%d of %d records, %v", len(m.records), len(all), err)
	}
	for _, x := range all {
		if !m.records[record{x.Group, x.Key, string(x.Value)}] {
			t.Fatalf("%+v is lost", x)
		}
	}
	more := []cluster.Record{{Group: group(1), Key: dhash.Key{1}, Value: make([]byte, dhash.Overhead)}}
	if err := c.ImportSealed(t.Context(), more, all[1:]); err != nil || len(m.records) != 2 {
		t.Errorf("%d records are left, %v", len(m.records), err)
	}
	m.err, m.failFrom = errors.New("disk on fire"), 0
	if err := c.ImportSealed(t.Context(), all, nil); err == nil {
		t.Error("what was not stored is acknowledged")
	}
	if err := c.ImportSealed(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
	if err := c.ImportSealed(t.Context(), []cluster.Record{{Value: make([]byte, valuestore.MaxValue+1)}}, nil); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a large value: %v", err)
	}
	foreign := newClient(t, node(t, m, nil), &storehttp.ClientOptions{Foreign: true})
	if err := foreign.ImportSealed(t.Context(), more, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a foreign store: %v", err)
	}
}

// said answers every request with a stream.
type said []byte

func (s said) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {storehttp.MediaType}}, Body: io.NopCloser(bytes.NewReader(s)), Request: r}, nil
}

func values(g ipni.SealedGroup, pairs ...string) storehttp.Frame {
	f := storehttp.Frame{Kind: storehttp.Values, Group: g}
	for i := 0; i < len(pairs); i += 2 {
		f.Records = f.Records.Append(dhash.Key([]byte(pairs[i] + string(make([]byte, 32)))[:32]), []byte(pairs[i+1]))
	}
	return f
}

// TestExportLiars are nodes whose exports are none: an error, never a shorter answer.
func TestExportLiars(t *testing.T) {
	mark := storehttp.Frame{Kind: storehttp.Mark}
	metadata := func(pairs ...string) storehttp.Frame {
		f := values(ipni.SealedGroup{}, pairs...)
		f.Kind = storehttp.Metadata
		return f
	}
	large := func(first byte) storehttp.Frame {
		f := storehttp.Frame{Kind: storehttp.Values, Group: group(1)}
		for i := range 20_000 {
			f.Records = f.Records.Append(dhash.Key{first, byte(i >> 16), byte(i >> 8), byte(i)}, make([]byte, 120))
		}
		return f // of 3,060,000 bytes
	}
	r := valuestore.Range{From: dhash.Key{'b'}, To: dhash.Key{'y'}}
	for name, c := range map[string]struct {
		frames             []storehttp.Frame
		records, metadatas int // that are yielded; negative is an error
	}{
		"nothing":              {nil, 0, 0},
		"good":                 {[]storehttp.Frame{values(group(2), "c", "1", "e", "1"), values(group(1), "d", "1"), mark, values(group(1), "e", "2", "y", "1"), mark}, 5, -1},
		"good metadata":        {[]storehttp.Frame{metadata("b", "1", "c", "1"), metadata("y", "1")}, -1, 3},
		"groups of a value":    {[]storehttp.Frame{values(group(2), "c", "1"), values(group(1), "c", "1"), mark, values(group(3), "c", "1"), mark}, 3, -1},
		"no mark":              {[]storehttp.Frame{values(group(1), "c", "1")}, -1, -1},
		"no last mark":         {[]storehttp.Frame{values(group(1), "c", "1"), mark, values(group(1), "d", "1")}, -1, -1},
		"twice":                {[]storehttp.Frame{values(group(1), "c", "1", "c", "1"), mark}, -1, -1},
		"twice in two windows": {[]storehttp.Frame{values(group(1), "c", "1"), mark, values(group(1), "c", "1"), mark}, -1, -1},
		"back":                 {[]storehttp.Frame{values(group(1), "c", "2"), mark, values(group(1), "c", "1"), mark}, -1, -1},
		"a group back":         {[]storehttp.Frame{values(group(2), "c", "1"), mark, values(group(1), "c", "1"), mark}, -1, -1},
		"before the range":     {[]storehttp.Frame{values(group(1), "a", "1"), mark}, -1, -1},
		"behind the range":     {[]storehttp.Frame{values(group(1), "z", "1"), mark}, -1, -1},
		"metadata outside":     {[]storehttp.Frame{metadata("z", "1")}, -1, -1},
		"metadata back":        {[]storehttp.Frame{metadata("c", "1"), metadata("b", "1")}, -1, -1},
		"metadata twice":       {[]storehttp.Frame{metadata("c", "1"), metadata("c", "1")}, -1, -1},
		"metadata of nothing":  {[]storehttp.Frame{metadata("c", "")}, -1, -1},
		"a window too large":   {[]storehttp.Frame{large('b'), large('c'), mark}, -1, -1},
		"large windows":        {[]storehttp.Frame{large('b'), mark, large('c'), mark}, 40_000, -1},
	} {
		stream := frames(t, c.frames...)
		n, m := -1, -1
		client := newClient(t, "http://node.example", &storehttp.ClientOptions{CallerOptions: transport(said(stream))})
		if got, err := collect(client.ExportSealed(t.Context(), r), cloneRecord); err == nil {
			n = len(got)
		} else if !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := collect(client.ExportMetadata(t.Context(), r), cloneMetadata); err == nil {
			m = len(got)
		} else if !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
		if n != c.records || m != c.metadatas {
			t.Errorf("%s: %d records and %d metadata, not %d and %d", name, n, m, c.records, c.metadatas)
		}
	}
}

// TestCutExport cuts an export at every byte.
func TestCutExport(t *testing.T) {
	mark := storehttp.Frame{Kind: storehttp.Mark}
	stream := frames(t, values(group(1), "c", "1"), mark, values(group(1), "d", "1"), mark)
	for n := range stream {
		client := newClient(t, "http://node.example", &storehttp.ClientOptions{CallerOptions: transport(said(stream[:n]))})
		got, err := collect(client.ExportSealed(t.Context(), valuestore.Everything()), cloneRecord)
		if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) > 2 {
			t.Fatalf("cut to %d bytes: %d records, %v", n, len(got), err)
		}
	}
}

// source yields records until it is stopped, and says when it is.
type source struct {
	next func(i int) cluster.Record
	n    int
	done chan struct{}
}

func (s source) ExportSealed(ctx context.Context, _ valuestore.Range) iter.Seq2[cluster.Record, error] {
	return func(yield func(cluster.Record, error) bool) {
		defer close(s.done)
		for i := range s.n {
			if !yield(s.next(i), nil) {
				return
			}
		}
	}
}

func (s source) ExportMetadata(context.Context, valuestore.Range) iter.Seq2[cluster.Metadata, error] {
	return yields[cluster.Metadata](nil, nil)
}

func numbered(i int) cluster.Record {
	return cluster.Record{Group: group(byte(i % 7)), Key: dhash.Key{1, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, Value: make([]byte, 102)}
}

// exporting serves s, which need not be a store.
func exporting(t *testing.T, s source, stall time.Duration) string {
	h := storehttp.New(newMemory(), &storehttp.Options{Authorize: everybody, Exporter: s, Stall: stall})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// TestSourceOutOfOrder is a store whose export cannot be put in order by who receives it.
func TestSourceOutOfOrder(t *testing.T) {
	for name, next := range map[string]func(i int) cluster.Record{
		"key":   func(i int) cluster.Record { return numbered(100 - i) },
		"twice": func(int) cluster.Record { return numbered(1) },
		"value": func(i int) cluster.Record { return cluster.Record{Key: dhash.Key{1}, Value: []byte{byte(100 - i)}} },
		"group": func(i int) cluster.Record {
			return cluster.Record{Key: dhash.Key{1}, Value: []byte{1}, Group: group(byte(100 - i))}
		},
		"range":    func(i int) cluster.Record { return cluster.Record{Key: dhash.Key{2, byte(i)}, Value: []byte{1}} },
		"no value": func(i int) cluster.Record { return cluster.Record{Key: dhash.Key{1, byte(i)}} },
		"a large value": func(i int) cluster.Record {
			return cluster.Record{Key: dhash.Key{1, byte(i)}, Value: make([]byte, valuestore.MaxValue+1)}
		},
	} {
		c := newClient(t, exporting(t, source{next, 3, make(chan struct{})}, 0), nil)
		n := 0
		var last error
		for _, err := range c.Export(t.Context(), cluster.PartitionRange(1)) { // which sorts nothing
			last = err
			n++
		}
		if last == nil || errors.Is(last, fs.ErrNotExist) {
			t.Errorf("%s: %d frames, %v", name, n, last)
		}
	}
}

// TestStalledReader does not read: what the export holds must be let go.
func TestStalledReader(t *testing.T) {
	s := source{numbered, 1 << 30, make(chan struct{})}
	res, err := http.Get(exporting(t, s, 50*time.Millisecond) + "/partition/01-01")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	<-s.done
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Error("a cut export looks whole")
	}
	// Deadlines of one answer must not outlive it.
	m := newMemory()
	m.records[record{group(1), dhash.Key{1}, "x"}] = true
	c := newClient(t, node(t, m, &storehttp.Options{Authorize: everybody, Stall: time.Nanosecond}), nil)
	if _, err := collect(c.ExportSealed(t.Context(), valuestore.Everything()), cloneRecord); err == nil {
		t.Error("no time, and an answer")
	}
	const stall = 300 * time.Millisecond
	c = newClient(t, node(t, m, &storehttp.Options{Authorize: everybody, Stall: stall}), nil)
	if got, err := collect(c.ExportSealed(t.Context(), valuestore.Everything()), cloneRecord); err != nil || len(got) != 1 {
		t.Errorf("%d records, %v", len(got), err)
	}
	time.Sleep(stall + stall/10)
	if err := c.PutSealed(t.Context(), group(1), records(1)); err != nil { // on the same connection
		t.Error(err)
	}
}

// firstPut is a store that says when it is first written to.
type firstPut struct {
	*memory
	put chan struct{}
}

func (f firstPut) PutSealed(ctx context.Context, g ipni.SealedGroup, records valuestore.Records) error {
	select {
	case f.put <- struct{}{}:
	default:
	}
	return f.memory.PutSealed(ctx, g, records)
}

// TestSmallFrames sends frames of many groups, which wait for others, but not for the end.
func TestSmallFrames(t *testing.T) {
	s := firstPut{newMemory(), make(chan struct{}, 1)}
	server := httptest.NewServer(storehttp.New(s, &storehttp.Options{Authorize: everybody}))
	t.Cleanup(server.Close)
	var all []storehttp.Frame
	for i := range 12_000 { // 200 bytes each
		all = append(all, storehttp.Frame{Kind: storehttp.Values, Group: ipni.SealedGroup{Epoch: uint64(i)}, Records: records(1)})
	}
	stream := frames(t, all...)
	r, w := io.Pipe()
	go func() {
		w.Write(stream[:len(stream)-1])
		<-s.put
		w.Write(stream[len(stream)-1:])
		w.Close()
	}()
	res, text := post(t, "PUT", server.URL+"/multihash", map[string]string{"Content-Type": storehttp.MediaType}, r)
	if res.StatusCode != http.StatusAccepted || len(s.records) != len(all) {
		t.Errorf("%s %q, %d records", res.Status, text, len(s.records))
	}
}

// TestExportMemory sends and reads much more than both ends may hold.
func TestExportMemory(t *testing.T) {
	const n = 1_000_000 // 135 MB
	s := source{numbered, n, make(chan struct{})}
	c := newClient(t, exporting(t, s, 0), nil)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	seen, most := 0, uint64(0)
	for _, err := range c.ExportSealed(t.Context(), cluster.PartitionRange(1)) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen%100_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}
	if seen != n || most > before.HeapAlloc+24<<20 {
		t.Errorf("%d records, %d MiB held", seen, (most-before.HeapAlloc)>>20)
	}
}

// FuzzExport reads an answer of any form: what is yielded is in order and in the range.
func FuzzExport(f *testing.F) {
	mark := storehttp.Frame{Kind: storehttp.Mark}
	f.Add(frames(f, values(group(2), "c", "1", "e", "1"), values(group(1), "d", "1"), mark, values(group(1), "e", "2"), mark))
	f.Add(frames(f, storehttp.Frame{Kind: storehttp.Metadata, Records: values(group(1), "c", "1", "d", "1").Records}))
	f.Add(frames(f, values(group(1), "d", "1"), values(group(1), "d", "1"), mark))
	r := valuestore.Range{From: dhash.Key{'b'}, To: dhash.Key{'y'}}
	f.Fuzz(func(t *testing.T, stream []byte) {
		c := newClient(t, "http://node.example", &storehttp.ClientOptions{CallerOptions: transport(said(stream))})
		records, errRecords := collect(c.ExportSealed(t.Context(), r), cloneRecord)
		for i, x := range records {
			if !r.Contains(x.Key) || len(x.Value) == 0 || i > 0 && compareRecords(records[i-1], x) >= 0 {
				t.Fatalf("%+v", x)
			}
		}
		metadata, errMetadata := collect(c.ExportMetadata(t.Context(), r), cloneMetadata)
		for i, m := range metadata {
			if !r.Contains(dhash.Key(m.Key)) || len(m.Sealed) == 0 || i > 0 && bytes.Compare(metadata[i-1].Key[:], m.Key[:]) >= 0 {
				t.Fatalf("%+v", m)
			}
		}
		if errRecords == nil && errMetadata == nil && len(records)+len(metadata) > 0 {
			t.Fatal("records, and metadata")
		}
		if len(metadata) > 0 && errMetadata == nil {
			return
		}
		if all, err := readAll(bytes.NewReader(stream)); errRecords == nil {
			n := 0
			for _, f := range all {
				m, _ := f.Records.Check()
				n += m
			}
			if err != nil || n != len(records) {
				t.Fatalf("%d records of %d, %v", len(records), n, err)
			}
		}
	})
}
