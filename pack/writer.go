package pack

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// DefaultSize is the size in bytes at which packs are split: 128 MiB.
const DefaultSize = 128 << 20

// rootless is the root in the header of every pack but the first: the empty
// identity CID, bafkqaaa.
var rootless = cid.NewCidV1(cid.Raw, multihash.Multihash{0, 0})

// Options are the settings of a [Writer].
type Options struct {
	// Size is the largest size of a pack in bytes, header and sections. Only a
	// single block that is larger makes a larger pack. Default [DefaultSize].
	Size int64
	// Root is any CID of the length that the root will have; the header of the
	// first pack leaves room for it. Default: a CIDv1 with 32 bytes of hash.
	Root cid.Cid
	// Committed is called when pack n is durable under digest d, on the goroutine
	// that calls the Writer and in no particular order of n; the first pack, whose
	// header holds the root, is usually the last. An error ends the Writer.
	Committed func(ctx context.Context, n int, d digest.Digest, size int64) error
	// Concurrency is how many packs are hashed at a time. Default GOMAXPROCS.
	Concurrency int
}

// Place is where a [Writer] put a block.
type Place struct {
	Pack   int   // ordinal of the pack within its Writer, from 0; a pack that is left empty leaves a gap
	Offset int64 // of the block's bytes in the pack
	Size   int64 // of the block's bytes
}

// Writer writes the blocks of one DAG into packs, in the order in which it is
// called. A block that is known only after others that stand behind it (a parent,
// in pre-order) is reserved first and filled in later.
//
// A pack is committed as soon as it is full and has no reservation left. The first
// error ends the Writer: only [Writer.Discard] may follow.
type Writer struct {
	drafts      func(context.Context) (blob.Draft, error)
	size        int64
	placeholder cid.Cid
	committed   func(context.Context, int, digest.Digest, int64) error

	cur        *volume         // the one that is appended to
	volumes    map[int]*volume // all that are not handed to the sealer
	next       int             // ordinal of the next volume
	headerSize int64           // of the first pack
	head, buf  []byte          // scratch
	sealer     *sealer
	err        error
}

// NewWriter returns a Writer that asks drafts for a place for each pack.
func NewWriter(drafts func(context.Context) (blob.Draft, error), o *Options) *Writer {
	if o == nil {
		o = &Options{}
	}
	w := &Writer{
		drafts: drafts, size: o.Size, placeholder: o.Root, committed: o.Committed,
		volumes: map[int]*volume{}, buf: make([]byte, 0, bufferSize), sealer: newSealer(o.Concurrency),
	}
	if w.size <= 0 {
		w.size = DefaultSize
	}
	if !w.placeholder.Defined() {
		w.placeholder = cid.NewCidV1(cid.Raw, append(multihash.Multihash{multihash.SHA2_256, 32}, make([]byte, 32)...))
	}
	return w
}

func (w *Writer) header(root cid.Cid) []byte { return car.AppendHeader(nil, root) }

// Append adds a block, which is not verified. It does not keep data.
func (w *Writer) Append(ctx context.Context, c cid.Cid, data []byte) (Place, error) {
	size := int64(len(data))
	w.head = car.AppendHead(w.head[:0], c, size)
	if err := w.room(ctx, size, int64(len(w.head))+size); err != nil {
		return Place{}, err
	}
	v := w.cur
	p := Place{v.n, v.size + int64(len(w.head)), size}
	if err := v.add(w.head, data); err != nil {
		return Place{}, w.fail(err)
	}
	v.blocks++
	return p, nil
}

// Reserve leaves room for a block of size bytes whose CID has cidLen bytes.
func (w *Writer) Reserve(ctx context.Context, cidLen int, size int64) (Place, error) {
	head := car.HeadSizeLen(cidLen, size)
	if err := w.room(ctx, size, head+size); err != nil {
		return Place{}, err
	}
	v := w.cur
	off, err := v.skip(head + size)
	if err != nil {
		return Place{}, w.fail(err)
	}
	v.blocks++
	v.holes[off+head] = head
	return Place{v.n, off + head, size}, nil
}

// room makes sure that n bytes fit the current volume.
func (w *Writer) room(ctx context.Context, size, n int64) error {
	if size > block.MaxSize {
		return w.fail(fmt.Errorf("pack: block of %d bytes: %w", size, block.ErrTooLarge))
	}
	if err := w.deliver(ctx); err != nil {
		return err
	}
	if w.cur != nil && w.cur.blocks > 0 && w.cur.size+n > w.size {
		if err := w.shut(ctx); err != nil {
			return w.fail(err)
		}
	}
	if w.cur == nil {
		if err := w.open(ctx); err != nil {
			return w.fail(err)
		}
	}
	return nil
}

// Fill writes b, which is not verified, into the room reserved at p.
func (w *Writer) Fill(ctx context.Context, p Place, b block.Block) error {
	v, head, err := w.hole(p)
	if err != nil {
		return err
	}
	w.head = car.AppendHead(w.head[:0], b.CID, p.Size)
	if int64(len(b.Data)) != p.Size || int64(len(w.head)) != head {
		return w.fail(fmt.Errorf("pack: fill in %s of %d bytes: it does not fit the room left for it", b.CID, len(b.Data)))
	}
	if err := v.patch(p.Offset-head, w.head, b.Data); err != nil {
		return w.fail(err)
	}
	return w.fail(w.settle(ctx, v))
}

// Unreserve takes back the reservation at p. Nothing may stand after it.
func (w *Writer) Unreserve(ctx context.Context, p Place) error {
	v, head, err := w.hole(p)
	if err != nil {
		return err
	}
	if p.Offset+p.Size != v.size {
		return w.fail(fmt.Errorf("pack: the reservation at %d in pack %d is not the last", p.Offset, p.Pack))
	}
	v.cut(p.Offset - head)
	v.blocks--
	return w.fail(w.settle(ctx, v))
}

// hole closes the reservation at p and returns the size of its frame.
func (w *Writer) hole(p Place) (*volume, int64, error) {
	if w.err != nil {
		return nil, 0, w.err
	}
	v := w.volumes[p.Pack]
	if v == nil || v.holes[p.Offset] == 0 {
		return nil, 0, w.fail(fmt.Errorf("pack: nothing is reserved at %d in pack %d", p.Offset, p.Pack))
	}
	head := v.holes[p.Offset]
	delete(v.holes, p.Offset)
	return v, head, nil
}

// Finish writes root into the header of the first pack and returns when all packs
// are durable and reported to [Options.Committed].
func (w *Writer) Finish(ctx context.Context, root cid.Cid) error {
	if w.err != nil {
		return w.err
	}
	if w.cur != nil {
		if err := w.shut(ctx); err != nil {
			return w.fail(err)
		}
	}
	if v := w.volumes[0]; v != nil {
		if err := w.finishFirst(ctx, v, root); err != nil {
			return w.fail(err)
		}
	}
	if len(w.volumes) > 0 {
		return w.fail(errors.New("pack: finished with reservations that are not filled"))
	}
	w.sealer.wait()
	return w.deliver(ctx)
}

func (w *Writer) finishFirst(ctx context.Context, v *volume, root cid.Cid) error {
	header := w.header(root)
	if int64(len(header)) != w.headerSize {
		return fmt.Errorf("pack: root %s does not fit the room left for it in the header", root)
	}
	if err := v.patch(0, header); err != nil {
		return err
	}
	delete(v.holes, 0)
	return w.settle(ctx, v)
}

// deliver reports what was committed since the last call.
func (w *Writer) deliver(ctx context.Context) error {
	if w.err != nil || !w.sealer.ready.Load() {
		return w.err
	}
	done, err := w.sealer.take()
	for _, s := range done {
		if w.committed == nil {
			break
		}
		if err := w.committed(ctx, s.n, s.digest, s.size); err != nil {
			return w.fail(fmt.Errorf("pack: %s: %w", s.digest, err))
		}
	}
	return w.fail(err)
}

// Discard frees what is not committed. It is the end of a Writer that was not
// finished, and does nothing after a Finish without error.
func (w *Writer) Discard() {
	w.fail(errors.New("pack: writer was discarded"))
	w.sealer.stop()
	for n, v := range w.volumes {
		v.draft.Discard()
		delete(w.volumes, n)
	}
	w.cur = nil
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return err
}
