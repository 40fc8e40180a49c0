package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Records must differ, or stores would keep fewer of them than are counted.
func TestRecordsDiffer(t *testing.T) {
	const n = 100_000
	keys, values := map[dhash.Key]bool{}, map[string]bool{}
	value := make([]byte, sealedValue)
	for i := range uint64(n) {
		keys[indexKey(i)] = true
		fillValue(value, i)
		values[string(value)] = true
		if bytes.Equal(value[:8], value[8:16]) {
			t.Fatalf("the value of record %d repeats itself", i)
		}
	}
	if len(keys) != n || len(values) != n {
		t.Errorf("%d keys and %d values of %d records", len(keys), len(values), n)
	}
	last := make([]byte, sealedValue)
	fillValue(last, n-1)
	if !bytes.Equal(value, last) || bytes.Equal(last[96:], make([]byte, 6)) {
		t.Errorf("a record is another one the second time, or not filled: %x", last)
	}
}

// The JSON must be what dhstore reads, with the records that lookups expect.
func TestMergesBody(t *testing.T) {
	for _, hot := range []bool{false, true} {
		var got struct {
			Merges []struct{ Key, Value []byte }
		}
		if err := json.Unmarshal(mergesBody(nil, 7, 3, hot), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Merges) != 3 {
			t.Fatalf("%d records, want 3", len(got.Merges))
		}
		want := make([]byte, sealedValue)
		for i, m := range got.Merges {
			key := indexKey(7 + uint64(i))
			if hot {
				key = indexKey(hotKey)
			}
			fillValue(want, 7+uint64(i))
			if !bytes.Equal(m.Key, key.Multihash()) || !bytes.Equal(m.Value, want) {
				t.Errorf("record %d, hot %v: %x %x", i, hot, m.Key, m.Value)
			}
		}
	}
}

// A fill must write each record once, and all values of the hot key.
func TestFillBatches(t *testing.T) {
	for _, f := range []fill{{records: 2*chunkHashes + 5, value: sealedValue, hot: 100}, {records: 50, value: compactValue, hot: 50}, {records: 3, value: 1}} {
		records, hot := uint64(0), uint64(0)
		for n := uint64(0); n < f.records; n += chunkHashes {
			batch := valuestore.Records(f.batch(nil, n))
			for e, err := range batch.All() {
				if err != nil {
					t.Fatal(err)
				}
				want := indexKey(records)
				if f.isHot(records) {
					want = indexKey(hotKey)
					hot++
				}
				if e.Key != want || len(e.Value) != f.value {
					t.Fatalf("record %d: key %x with %d bytes", records, e.Key, len(e.Value))
				}
				records++
			}
		}
		if records != f.records || hot != f.hot {
			t.Errorf("%d records, %d of the hot key, want %d and %d", records, hot, f.records, f.hot)
		}
	}
}

func TestMiddle(t *testing.T) {
	times := make([]float64, 1000)
	for i := range times {
		times[i] = float64(1000 - i)
	}
	if half, p99 := middle(times); half != 500.5 || p99 != 991 {
		t.Errorf("median %v, p99 %v", half, p99)
	}
}

// What does not take all records must not be measured.
func TestPutFails(t *testing.T) {
	requests := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests > 2 {
			http.Error(w, "full", http.StatusInsufficientStorage)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer s.Close()
	p := put{url: s.URL, records: 50, long: time.Minute, conns: 1, batch: 10}
	if n, err := p.run(t.Context()); n != 20 || err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("%d records were taken, error %v", n, err)
	}
	p.records = 0
	if n, err := p.run(t.Context()); n != 0 || err != nil {
		t.Errorf("nothing to write: %d, %v", n, err)
	}
}

// Other answers than the record that was written must not be measured, and waiting counts.
func TestLookups(t *testing.T) {
	value := make([]byte, sealedValue)
	change := byte(0)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for n := range uint64(10) {
			if r.URL.Path == lookupPath(n) {
				fillValue(value, n)
				value[0] ^= change
				json.NewEncoder(w).Encode(map[string]any{"EncryptedMultihashResults": []any{
					map[string]any{"Multihash": []byte(indexKey(n).Multihash()), "EncryptedValueKeys": [][]byte{value}},
				}})
				return
			}
		}
		http.NotFound(w, r)
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	if err := checkLookups(t.Context(), addr, 10, 5); err != nil {
		t.Error(err)
	}
	change = 1
	if err := checkLookups(t.Context(), addr, 10, 5); err == nil {
		t.Error("another value was taken")
	}
	if times, err := lookupsAtRate(t.Context(), addr, lookupPaths(10, 20), 1000, 50*time.Millisecond); err != nil || len(times) != 50 {
		t.Errorf("%d lookups, %v", len(times), err)
	}
	if _, err := lookupsAtRate(t.Context(), addr, []string{lookupPath(11)}, 1000, 50*time.Millisecond); err == nil {
		t.Error("absence was measured")
	}
}

// A chain must be what a publisher serves: signed, in order, with all its multihashes.
func TestChain(t *testing.T) {
	const ads, chunks = 2, 2
	dir := t.TempDir()
	made, err := makeChain(dir, 1, 100, ads, chunks)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := startServer(t.Context(), nil, self, "chain-serve", dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	u := "/ip4/127.0.0.1/tcp/" + strings.TrimPrefix(s.addr, "127.0.0.1:") + "/http"
	c, err := ipnisync.New(peer.AddrInfo{ID: made.ID, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast(u)}},
		&ipnisync.Options{Transport: ipnisync.NewTransport(true)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	head, err := c.Head(t.Context())
	if err != nil || head != made.Head {
		t.Fatalf("head %s, %v, want %s", head, err, made.Head)
	}
	block := func(c2 cid.Cid, kind ipni.Kind) []byte {
		data, err := c.Block(t.Context(), c2, kind)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	seen, got := map[string]bool{}, 0
	for head.Defined() {
		a, err := ad.Decode(head, block(head, ipni.Advertisement))
		if err != nil {
			t.Fatal(err)
		}
		got++
		for next := a.Entries; next.Defined(); {
			e, err := ad.DecodeEntries(next, block(next, ipni.EntryChunk))
			if err != nil {
				t.Fatal(err)
			}
			for mh := range e.Multihashes.All() {
				seen[string(mh)] = true
			}
			if next = cid.Undef; len(e.Links) > 0 {
				next = e.Links[0]
			}
		}
		head = a.Previous
	}
	if want := uint64(ads * chunks * chunkHashes); got != ads || uint64(len(seen)) != want || made.Multihashes != want {
		t.Errorf("%d advertisements with %d multihashes, %d are said to be there", got, len(seen), made.Multihashes)
	}
	if !seen[string(plainHash(100))] || !seen[string(plainHash(100+made.Multihashes-1))] {
		t.Error("the first or the last multihash is missing")
	}
	again, err := makeChain(t.TempDir(), 1, 100, ads, chunks)
	if err != nil || again.Head != made.Head {
		t.Errorf("the second time, the head is %s, %v; it was %s", again.Head, err, made.Head)
	}
}

// The time of merging must count: quiet must wait for who is busy, and for nobody else.
func TestQuiet(t *testing.T) {
	idle, err := spawn(nil, nil, "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	defer idle.stop()
	start := time.Now()
	since, err := quiet(t.Context(), idle)
	if err != nil || since.Sub(start) > time.Second {
		t.Errorf("an idle process rests since %s, %v", since.Sub(start), err)
	}
	rested := filepath.Join(t.TempDir(), "rested")
	busy, err := spawn(nil, nil, "sh", "-c", "(ulimit -t 3; exec yes >/dev/null); touch "+rested+"; exec sleep 60")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.stop()
	if _, err := quiet(t.Context(), busy); err != nil {
		t.Fatal(err)
	}
	if !isFile(rested) {
		t.Error("it was called quiet while it worked")
	}
	gone, err := spawn(nil, nil, "true")
	if err != nil {
		t.Fatal(err)
	}
	<-gone.exited
	if _, err := quiet(t.Context(), gone); err == nil {
		t.Error("a process that has ended is quiet")
	}
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	b := &bench{options: options{bigDir: dir}}
	got, err := b.room(1)
	if err != nil || filepath.Dir(got) != dir {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := b.room(1 << 60); err == nil || !strings.Contains(err.Error(), "must be free") {
		t.Errorf("an exbibyte was free: %v", err)
	}
}
