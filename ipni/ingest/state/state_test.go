package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

var (
	one = cid.MustParse("baguqeeratze543xe4lbzst2rhr4bkamjcdpubjofmhxvfnr636ky36qjtfhq")
	two = cid.MustParse("bafkreehdwdcefgh4dqkjv67uzcmw7oje")
	at  = time.Unix(1700000000, 0).UTC()
)

const id = peer.ID("\x00\x24\x08\x01\x12\x20aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb")

func testPublisher() Publisher {
	return Publisher{
		Addrs: [][]byte{{4, 8, 8, 8, 8}}, Head: one, HeadAt: at, ContactAt: at, WantedAt: at, FailedAt: at, Error: "no",
		Tries: 3, Inactive: true, Damaged: true, Ads: 4, Multihash: 5, Skips: 1, LastAd: two, LastAdTime: at,
	}
}

func testGap() Gap {
	return Gap{
		Seq: 7, From: one, Depth: 300, Stop: two, Limit: 1 << 25, Resync: true, Segments: 2, Size: 9, Done: 4, Next: two,
		Broken: "b", Anew: true, Cause: "c", Tries: 2, RetryAt: at, Since: at,
	}
}

var (
	testAd      = Ad{Status: Skipped, Tag: TagOf(id), Order: Order(7, 3), Epoch: Order(7, 9), Count: 77, At: at, Reason: "r"}
	testContext = Context{RemovedAt: Order(1, 1), MetadataAt: Order(2, 1), Epoch: Order(3, 2), EpochLast: Order(3, 1), Tag: TagOf(id)}
	testBegun   = Progress{Left: []cid.Cid{one, two}, Epoch: Order(3, 2), Blocks: 3, Multihashes: 400, Bytes: 500}
	testRetry   = Retry{CID: one, Order: Order(7, 3), Tries: 2, First: at, Due: at, Cause: "404"}
)

// decodeAny decodes and encodes a row of any kind.
func decodeAny(kind byte, data []byte) ([]byte, any, error) {
	switch kind {
	case 'p':
		p, err := DecodePublisher(data)
		return p.Encode(), p, err
	case 'g':
		g, err := DecodeGap(data)
		return g.Encode(), g, err
	case 'b':
		p, err := DecodeProgress(data)
		return p.Encode(), p, err
	case 's':
		s, err := DecodeSegment(data)
		return EncodeSegment(s), s, err
	case 'a':
		a, err := DecodeAd(data)
		return a.Encode(), a, err
	case 'x':
		c, err := DecodeContext(data)
		return c.Encode(), c, err
	case 't':
		r, err := DecodeRetry(data)
		return r.Encode(), r, err
	case 'h':
		before, err := DecodeContinued(data)
		return PutContinued("p", before).Value, before, err
	}
	n, err := decodeNumber(data)
	return number(n), n, err
}

// The vectors of docs/formats/ingest.md.
func vectors() map[byte]string {
	const c1 = "2501a90212209e49de6ee4e2c3994f513c7815018910df40a5c561ef52b63edf958dfa09994f"
	const c2 = "1401551210e3b0c44298fc1c149afbf4c8996fb924"
	const time = "80e2cfaa06"
	return map[byte]string{
		'p': "01" + "01" + "050408080808" + c1 + time + time + time + time + "026e6f" + "03" + "03" + "040501" + c2 + time,
		'g': "02" + "07" + c1 + "ac02" + c2 + "80808010" + "05" + "020904" + c2 + "0162" + "0163" + "02" + time + time,
		'b': "01" + "02" + c1 + c2 + "fdffffff3f" + "039003f403",
		's': "01" + "02" + c1 + c2,
		'a': "01" + "03" + "0838e23a70af9e97b8" + "fcffffff7f" + "07" + "4d" + time + "0172",
		'x': "01" + "feffffff1f" + "feffffff2f" + "fdffffff3f" + "feffffff3f" + "0838e23a70af9e97b8",
		't': "01" + "00" + c1 + "fcffffff7f" + "02" + time + time + "03343034",
		'r': "01" + "ac02",
		'h': "01" + "020904",
	}
}

func rows() map[byte]any {
	return map[byte]any{
		'p': testPublisher(), 'g': testGap(), 'b': testBegun, 's': []cid.Cid{one, two}, 'a': testAd, 'x': testContext, 't': testRetry, 'r': uint64(300), 'h': peer.ID("\x09\x04"),
	}
}

func TestVectors(t *testing.T) {
	for kind, text := range vectors() {
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		again, row, err := decodeAny(kind, data)
		if err != nil {
			t.Errorf("decode %c: %v", kind, err)
			continue
		}
		if d := cmp.Diff(rows()[kind], row, cmp.Comparer(cid.Cid.Equals)); d != "" {
			t.Errorf("row %c (-want +got):\n%s", kind, d)
		}
		if !bytes.Equal(again, data) {
			t.Errorf("encode %c: %x, want %x", kind, again, data)
		}
		for n := range data { // nothing shorter is good
			if _, _, err := decodeAny(kind, data[:n]); !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("decode %d bytes of %c: %v", n, kind, err)
			}
		}
		if _, _, err := decodeAny(kind, append(data, 0)); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("decode %c with a byte more: %v", kind, err)
		}
	}
}

func TestKeys(t *testing.T) {
	const peer = "0024080112206161616161616161616161616161616162626262626262626262626262626262"
	g := testGap()
	for _, x := range []struct {
		op   kv.Op
		want string
	}{
		{PutPublisher(&Publisher{ID: id}), "4e6970" + peer},
		{PutGap(id, &g), "4e6967" + peer + "fffffffffffffff8"},
		{PutSegment(id, 7, nil), "4e6973" + peer + "fffffffffffffff8"},
		{PutAd(two, testAd), "4e6961" + "01551210e3b0c44298fc1c149afbf4c8996fb924" + "38e23a70af9e97b8"},
		{PutContext(ipni.Context{Provider: id, ID: "ctx"}, testContext), "4e6978" + peer + "637478"},
		{PutRetry(id, testRetry), "4e6974" + peer + "6d" + "000000006553f100" + "fffffff800000003"},
	} {
		if got := hex.EncodeToString(x.op.Key); got != x.want {
			t.Errorf("key %s, want %s", got, x.want)
		}
	}
}

func TestStore(t *testing.T) {
	s := New(memkv.New())
	p, g, newer := testPublisher(), testGap(), testGap()
	p.ID, newer.Seq = id, 8
	deferred := testRetry
	deferred.Deferred, deferred.Due = true, time.Time{}
	late := testRetry
	late.Due = at.Add(time.Hour)
	c := ipni.Context{Provider: id, ID: "ctx"}
	if err := s.Batch(t.Context(), []kv.Op{
		PutPublisher(&p), PutGap(id, &g), PutGap(id, &newer), PutSegment(id, 7, []cid.Cid{one}), PutAd(one, testAd),
		PutContext(c, testContext), PutRetry(id, late), PutRetry(id, testRetry), PutRetry(id, deferred), PutFrozen(true),
	}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Publisher(t.Context(), id); err != nil || got.ID != id || got.Head != one {
		t.Errorf("publisher %+v, %v", got, err)
	}
	if got, err := s.Gaps(t.Context(), id); err != nil || len(got) != 2 || got[0].Seq != 8 {
		t.Errorf("gaps %+v, %v, want the newest first", got, err)
	}
	for got := range s.Contexts(t.Context(), id) {
		if got != c {
			t.Errorf("context %+v", got)
		}
	}
	for want, is := range map[time.Time]bool{at: false, {}: true} {
		for got, err := range s.Retries(t.Context(), id, is) {
			if err != nil || !got.Due.Equal(want) {
				t.Errorf("first retry %+v, %v", got, err)
			}
			break
		}
	}
	if on, err := s.Frozen(t.Context()); err != nil || !on {
		t.Errorf("frozen: %t, %v", on, err)
	}
	for want := range uint64(3) {
		if n, err := s.NextSeq(t.Context()); err != nil || n != want+1 {
			t.Errorf("number %d, %v", n, err)
		}
	}
	for _, order := range []uint64{5, 9, 7} {
		if err := s.SetRemoved(t.Context(), id, order); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Removed(t.Context(), id); err != nil || n != 9 {
		t.Errorf("removed at %d, %v", n, err)
	}
	if err := s.Batch(t.Context(), DropPublisher(id)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Publisher(t.Context(), id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after it was dropped: %v", err)
	}
	if gaps, err := s.Gaps(t.Context(), id); err != nil || len(gaps) != 0 {
		t.Errorf("gaps %v, %v", gaps, err)
	}
	if a, err := s.Ad(t.Context(), one); err != nil || a.Status != Skipped {
		t.Errorf("advertisement %+v, %v", a, err)
	}
	if a, err := s.Ad(t.Context(), two); err != nil || a.Status != Unknown {
		t.Errorf("advertisement that is unknown: %+v, %v", a, err)
	}
}

func TestCut(t *testing.T) {
	long := strings.Repeat("é", maxText)
	if got := Cut(long); len(got) > maxText || !strings.HasPrefix(long, got) || len(got)%2 != 0 {
		t.Errorf("cut to %d bytes", len(got))
	}
	if got := (Ad{Reason: long}).Encode(); len(got) > maxText+64 {
		t.Errorf("row of %d bytes", len(got))
	}
}

// A gap that was written by the version before is read, without how far entries were put.
func TestResuming(t *testing.T) {
	const c1 = "2501a90212209e49de6ee4e2c3994f513c7815018910df40a5c561ef52b63edf958dfa09994f"
	const c2 = "1401551210e3b0c44298fc1c149afbf4c8996fb924"
	const time = "80e2cfaa06"
	data, err := hex.DecodeString("01" + "07" + c1 + "ac02" + c2 + "80808010" + "01" + "020904" + c2 + "0162" + c1 + "039003f403" + "0163" + "02" + time + time)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeGap(data)
	want := testGap()
	want.Anew = false
	if d := cmp.Diff(want, got, cmp.Comparer(cid.Cid.Equals)); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

// Progress that is too large to be kept is not kept, and what was kept before is gone.
func TestProgress(t *testing.T) {
	s := New(memkv.New())
	left := make([]cid.Cid, maxLeft+1)
	for i := range left {
		left[i] = two
	}
	for _, n := range []int{1, maxLeft, maxLeft + 1, 2, 0} {
		p := Progress{Left: left[:n], Epoch: 7}
		if err := s.Batch(t.Context(), []kv.Op{PutProgress(id, one, &p)}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Progress(t.Context(), id, one)
		if want := n % (maxLeft + 1); err != nil || len(got.Left) != want {
			t.Errorf("%d blocks are left, %v; want %d", len(got.Left), err, want)
		}
	}
}

func FuzzRows(f *testing.F) {
	for kind, text := range vectors() {
		data, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, data)
	}
	f.Add(byte('h'), []byte{1, 0}) // nobody
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		again, _, err := decodeAny(kind, data)
		if err == nil && kind == 'g' && data[0] == resuming {
			return // it is written as another version
		}
		if err == nil && !bytes.Equal(again, data) {
			t.Errorf("%x becomes %x", data, again)
		}
		if err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Error(err)
		}
	})
}
