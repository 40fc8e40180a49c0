package mirror

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/mirror/adcar"
)

// A CARv2 begins with a pragma and a header of 40 bytes: characteristics, of which none
// is set, then where the data begins, how long it is, and where the index begins.
const (
	pragma     = "\x0a\xa1\x67version\x02"
	dataOffset = int64(len(pragma)) + 40
)

// storedMember is the length of the beginning of an archive as a gzip member that is not
// compressed, so that it can be written when the rest is known: a header, the frame of a stored
// block, the bytes, a trailer.
const storedMember = 10 + 5 + dataOffset + 8

// Recording is an archive that is being written. It is there when Commit has returned, and
// not at all before.
type Recording struct {
	writer *Writer
	ad     cid.Cid
	data   []byte
	links  adcar.Links

	draft   blob.Draft
	out     *io.OffsetWriter // from the beginning of draft
	zip     *gzip.Writer     // nil if the archive is plain
	size    int64            // of the CARv1 so far
	entries []car.IndexEntry
	seen    map[string]struct{}
	err     error // sticky
}

// Begin starts the archive of an advertisement, whose block is data. If it is there already,
// the error matches [io/fs.ErrExist], unless [Options].Overwrite says otherwise. The
// caller ends the recording by Commit or Discard.
func (w *Writer) Begin(ctx context.Context, ad cid.Cid, data []byte) (*Recording, error) {
	if err := adcar.Verify(ad, data); err != nil {
		return nil, fmt.Errorf("mirror: record: %w", err)
	}
	l, err := adcar.ReadLinks(ad, data)
	if err != nil {
		return nil, fmt.Errorf("mirror: record: %w", err)
	}
	if !w.options.Overwrite {
		there, err := w.Has(ctx, ad)
		if err == nil && there {
			err = fmt.Errorf("mirror: record %s: %w", ad, fs.ErrExist)
		}
		if err != nil {
			return nil, err
		}
	}
	return &Recording{writer: w, ad: ad, data: data, links: l, seen: map[string]struct{}{}}, nil
}

// Add appends a block of the entries. The first is the one that the advertisement
// points to. A block that is there already is not written again.
func (r *Recording) Add(ctx context.Context, c cid.Cid, data []byte) error {
	if r.err != nil {
		return r.err
	}
	if r.draft == nil && !c.Equals(r.links.Entries) {
		return fmt.Errorf("mirror: record %s: block %s is not the first of its entries: %w", r.ad, c, fs.ErrInvalid)
	}
	if err := adcar.Verify(c, data); err != nil {
		return fmt.Errorf("mirror: record %s: %w", r.ad, err)
	}
	if r.draft == nil {
		if err := r.start(ctx, r.ad, c); err != nil {
			return r.fail(err)
		}
	}
	return r.fail(r.section(c, data))
}

// Commit makes the archive durable under its name.
func (r *Recording) Commit(ctx context.Context) error {
	if r.err == nil && r.draft == nil {
		r.fail(r.start(ctx, r.ad))
	}
	if r.err == nil {
		r.fail(r.finish())
	}
	if r.err == nil {
		r.fail(r.publish(ctx))
	}
	if r.err != nil {
		return r.err
	}
	r.err = fmt.Errorf("mirror: record %s: %w", r.ad, fs.ErrClosed)
	return nil
}

// Discard ends a recording that was not committed.
func (r *Recording) Discard() error {
	if r.err == nil {
		r.err = fmt.Errorf("mirror: record %s: %w", r.ad, fs.ErrClosed)
	}
	if r.draft == nil {
		return nil
	}
	return r.draft.Discard()
}

func (r *Recording) fail(err error) error {
	if err != nil {
		r.err = fmt.Errorf("mirror: record %s: %w", r.ad, err)
	}
	return r.err
}

// start writes what stands before the entries. Room is left for the header, which says
// how long the rest is.
func (r *Recording) start(ctx context.Context, roots ...cid.Cid) error {
	draft, err := r.writer.store.Draft(ctx)
	if err != nil {
		return err
	}
	r.draft = draft
	r.out = io.NewOffsetWriter(draft, 0)
	header := int64(dataOffset)
	if !r.writer.options.Plain {
		header = storedMember
		r.zip = gzip.NewWriter(r.out)
	}
	if _, err := r.out.Seek(header, io.SeekStart); err != nil {
		return err
	}
	if err := r.write(car.AppendHeader(nil, roots...)); err != nil {
		return err
	}
	return r.section(r.ad, r.data)
}

func (r *Recording) write(b []byte) error {
	var w io.Writer = r.out
	if r.zip != nil {
		w = r.zip
	}
	n, err := w.Write(b)
	r.size += int64(n)
	return err
}

func (r *Recording) section(c cid.Cid, data []byte) error {
	name := string(c.Hash())
	if _, ok := r.seen[name]; ok {
		return nil
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return err
	}
	switch {
	case len(r.seen) > adcar.MaxBlocks: // the advertisement is not counted
		return fmt.Errorf("more than %d blocks", adcar.MaxBlocks)
	case r.size+int64(len(data)) > r.writer.options.MaxSize:
		return fmt.Errorf("the archive is too large: more than %d bytes", r.writer.options.MaxSize)
	}
	r.seen[name] = struct{}{}
	r.entries = append(r.entries, car.IndexEntry{Code: d.Code(), Coded: true, Value: d.Value(), Offset: r.size})
	if err := r.write(car.AppendHead(nil, c, int64(len(data)))); err != nil {
		return err
	}
	return r.write(data)
}

// finish writes the index, and the header in front.
func (r *Recording) finish() error {
	size := r.size
	index, err := car.AppendSidecar(nil, r.entries)
	if err != nil {
		return err
	}
	if err := r.write(index); err != nil {
		return err
	}
	header := append([]byte(pragma), make([]byte, 16)...)
	for _, n := range []int64{dataOffset, size, dataOffset + size} {
		header = binary.LittleEndian.AppendUint64(header, uint64(n))
	}
	if r.zip != nil {
		if err := r.zip.Close(); err != nil {
			return err
		}
		if header, err = store(header); err != nil {
			return err
		}
	}
	_, err = r.draft.WriteAt(header, 0)
	return err
}

// publish gives the archive its name.
func (r *Recording) publish(ctx context.Context) error {
	w := r.writer
	key := w.keys(r.ad)[0]
	if !w.options.Overwrite {
		return r.draft.Commit(ctx, key)
	}
	size, err := r.out.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	// A draft that is committed gives way to what is there.
	if err := w.store.Put(ctx, key, io.NewSectionReader(r.draft, 0, size)); err != nil {
		return err
	}
	if err := w.store.Delete(ctx, w.keys(r.ad)[1]); err != nil {
		return err
	}
	return r.draft.Discard()
}

// store returns b as a gzip member that is not compressed, whose length depends on that of b alone.
func store(b []byte) ([]byte, error) {
	m := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, 1)
	m = binary.LittleEndian.AppendUint16(m, uint16(len(b)))
	m = binary.LittleEndian.AppendUint16(m, ^uint16(len(b)))
	m = append(m, b...)
	m = binary.LittleEndian.AppendUint32(m, crc32.ChecksumIEEE(b))
	m = binary.LittleEndian.AppendUint32(m, uint32(len(b)))
	if int64(len(m)) != storedMember {
		return nil, errors.New("the header has another length than the room that was left for it")
	}
	return m, nil
}
