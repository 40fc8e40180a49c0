package backup

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/archive"
)

// magic begins every backup, and names its version. An archive follows.
const magic = "hashstream provider index 1\n"

// The first bytes of the keys of the archive, which ascend. Rows have their own keys.
const (
	keyHeader   = 'A'
	keyRecords  = 'R'
	keyMetadata = 'S'
	keyTotals   = 'Z'
)

const (
	modeSealed  = 's'
	modeCompact = 'c'

	maxBatch  = 4 << 20 // bytes of a batch; those of stores have about a quarter of that
	groupSize = len(ipni.ProviderTag{}) + dhash.KeySize + 8
	maxTime   = 1 << 40 // seconds
)

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", digest.ErrMismatch, fmt.Sprintf(format, args...))
}

// encode returns the pair of an item. seq numbers batches.
func (it Item) encode(seq *uint64, t *Totals) (kv.Pair, error) {
	switch {
	case it.Header != nil:
		mode := byte(modeSealed)
		if it.Header.Compact {
			mode = modeCompact
		}
		return kv.Pair{Key: []byte{keyHeader}, Value: binary.BigEndian.AppendUint64([]byte{mode}, uint64(it.Header.Created.Unix()))}, nil
	case it.Row != nil:
		t.Rows++
		return *it.Row, nil
	case it.Sealed != nil:
		n, err := it.Sealed.Records.Check()
		t.Records += uint64(n)
		return batch(seq, append(appendGroup(nil, it.Sealed.SealedGroup), it.Sealed.Records...)), err
	case it.Plain != nil:
		n, err := count(it.Plain.Multihashes)
		t.Records += n
		return batch(seq, appendPlain(nil, it.Plain)), err
	case it.Metadata != nil:
		t.Metadata++
		return kv.Pair{Key: append([]byte{keyMetadata}, it.Metadata.Key[:]...), Value: it.Metadata.Sealed}, nil
	}
	var value []byte
	for _, n := range []uint64{it.Totals.Rows, it.Totals.Records, it.Totals.Metadata} {
		value = binary.BigEndian.AppendUint64(value, n)
	}
	return kv.Pair{Key: []byte{keyTotals}, Value: value}, nil
}

func batch(seq *uint64, value []byte) kv.Pair {
	*seq++
	return kv.Pair{Key: binary.BigEndian.AppendUint64([]byte{keyRecords}, *seq-1), Value: value}
}

func appendGroup(b []byte, g ipni.SealedGroup) []byte {
	b = append(b, g.Provider[:]...)
	b = append(b, g.Context[:]...)
	return binary.BigEndian.AppendUint64(b, g.Epoch)
}

func appendPlain(b []byte, p *PlainBatch) []byte {
	key := p.ValueKey()
	b = binary.BigEndian.AppendUint16(b, uint16(len(key))) // stores refuse longer ones
	b = append(b, key...)
	b = binary.BigEndian.AppendUint64(b, p.Epoch)
	return append(b, p.Multihashes...)
}

func count(mhs ipni.Multihashes) (n uint64, err error) {
	for _, err := range mhs.All() {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Read yields the items of a backup. That the whole is undamaged is known only after the
// last; an error says what is not.
func Read(r io.Reader) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		d := &decoder{}
		err := d.begin(r)
		if err == nil {
			for p, err2 := range archive.Read(r) {
				var it Item
				if err = err2; err == nil {
					it, err = d.item(p)
				}
				if err != nil {
					break
				}
				if !yield(it, nil) {
					return
				}
			}
		}
		if err == nil && !d.ended {
			err = bad("the totals are missing")
		}
		if err != nil {
			yield(Item{}, fmt.Errorf("backup: read: %w", err))
		}
	}
}

// decoder checks that items follow each other as they should.
type decoder struct {
	begun, ended bool
	compact      bool
	seq          uint64
	seen         Totals
}

func (d *decoder) begin(r io.Reader) error {
	got := make([]byte, len(magic))
	switch _, err := io.ReadFull(r, got); {
	case err == io.EOF, err == io.ErrUnexpectedEOF, err == nil && string(got) != magic:
		return bad("it is no backup of a provider index")
	case err != nil:
		return err
	}
	return nil
}

// item decodes a pair. Archives have their keys in order, and keys of one kind have one
// first byte: so the header comes first, the totals last.
func (d *decoder) item(p kv.Pair) (Item, error) {
	kind := p.Key[0]
	if d.begun != (kind != keyHeader) {
		return Item{}, bad("the header is not at the beginning")
	}
	switch kind {
	case keyHeader:
		return d.header(p)
	case rowSpace:
		d.seen.Rows++
		return Item{Row: &p}, nil
	case keyRecords:
		return d.records(p)
	case keyMetadata:
		if len(p.Key) != 1+dhash.KeySize || len(p.Value) < dhash.Overhead || len(p.Value) > dhash.MaxMetadata+dhash.Overhead {
			return Item{}, bad("malformed metadata %x", p.Key)
		}
		d.seen.Metadata++
		return Item{Metadata: &store.SealedMetadata{Key: dhash.MetadataKey(p.Key[1:]), Sealed: p.Value}}, nil
	case keyTotals:
		return d.totals(p)
	}
	return Item{}, bad("unknown key %x", p.Key)
}

func (d *decoder) header(p kv.Pair) (Item, error) {
	if len(p.Key) != 1 || len(p.Value) != 9 || p.Value[0] != modeSealed && p.Value[0] != modeCompact {
		return Item{}, bad("malformed header")
	}
	seconds := binary.BigEndian.Uint64(p.Value[1:])
	if seconds > maxTime {
		return Item{}, bad("malformed header")
	}
	d.begun, d.compact = true, p.Value[0] == modeCompact
	return Item{Header: &Header{Compact: d.compact, Created: time.Unix(int64(seconds), 0).UTC()}}, nil
}

func (d *decoder) records(p kv.Pair) (Item, error) {
	if len(p.Key) != 9 || binary.BigEndian.Uint64(p.Key[1:]) != d.seq || len(p.Value) > maxBatch {
		return Item{}, bad("malformed batch %x", p.Key)
	}
	var (
		it  Item
		n   uint64
		err error
	)
	if d.compact {
		it.Plain, n, err = decodePlain(p.Value)
	} else {
		it.Sealed, n, err = decodeSealed(p.Value)
	}
	if err == nil && n == 0 {
		err = bad("it is empty")
	}
	if err != nil {
		return Item{}, fmt.Errorf("batch %d: %w", d.seq, err)
	}
	d.seq++
	d.seen.Records += n
	return it, nil
}

func decodeSealed(b []byte) (*store.SealedBatch, uint64, error) {
	if len(b) < groupSize {
		return nil, 0, bad("%d bytes where a group should be", len(b))
	}
	const context = len(ipni.ProviderTag{})
	s := &store.SealedBatch{Records: valuestore.Records(b[groupSize:])}
	s.Provider = ipni.ProviderTag(b[:context])
	s.Context = dhash.MetadataKey(b[context : context+dhash.KeySize])
	s.Epoch = binary.BigEndian.Uint64(b[context+dhash.KeySize:])
	n, err := s.Records.Check()
	return s, uint64(n), err
}

func decodePlain(b []byte) (*PlainBatch, uint64, error) {
	if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b))+8 {
		return nil, 0, bad("%d bytes where a group should be", len(b))
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	key, rest := b[2:n], b[n:]
	provider, context, err := dhash.SplitValueKey(key)
	if err != nil {
		return nil, 0, err
	}
	p := &PlainBatch{Multihashes: ipni.Multihashes(rest[8:])}
	p.Provider, p.ID, p.Epoch = provider, string(context), binary.BigEndian.Uint64(rest)
	hashes, err := count(p.Multihashes)
	return p, hashes, err
}

func (d *decoder) totals(p kv.Pair) (Item, error) {
	if len(p.Key) != 1 || len(p.Value) != 24 {
		return Item{}, bad("malformed totals")
	}
	t := Totals{binary.BigEndian.Uint64(p.Value), binary.BigEndian.Uint64(p.Value[8:]), binary.BigEndian.Uint64(p.Value[16:])}
	if t != d.seen {
		return Item{}, bad("it says that it has %+v, and has %+v", t, d.seen)
	}
	d.ended = true
	return Item{Totals: &t}, nil
}
