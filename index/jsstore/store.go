package jsstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
)

// DefaultMaxRecord is the largest record in bytes that is read: about a million blocks.
const DefaultMaxRecord = 192 << 20

// Options says where an index is in its store.
type Options struct {
	// Prefix begins every key, as hash-stream's setting of that name does: a folder
	// ends with a slash. Default: none.
	Prefix string
	// Layout names new objects. Records are read in either layout. Default [Disk].
	Layout Layout
	// MaxRecord is the largest record in bytes that is read. Default [DefaultMaxRecord].
	MaxRecord int64
}

// Source is what reading an index needs.
type Source interface {
	blob.Getter
	blob.Lister
}

// Reader reads an index.
type Reader struct {
	store Source
	o     Options
}

// NewReader returns a Reader of the index in store.
func NewReader(store Source, o *Options) *Reader {
	return &Reader{store, o.withDefaults()}
}

func (o *Options) withDefaults() Options {
	var all Options
	if o != nil {
		all = *o
	}
	if all.Layout == "" {
		all.Layout = Disk
	}
	if all.MaxRecord <= 0 {
		all.MaxRecord = DefaultMaxRecord
	}
	return all
}

// Object is a record with the object that holds it.
type Object struct {
	Key    string
	Format Format
	Record
}

// Objects yields the records of every object, in the order of the keys. Objects that
// are not named like records are passed over. After a record that does not decode it goes
// on if the consumer does; a store that fails ends it.
func (r *Reader) Objects(ctx context.Context) iter.Seq2[Object, error] { return r.list(ctx, "") }

// Records is [Reader.Objects] without the objects.
func (r *Reader) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for o, err := range r.Objects(ctx) {
			if !yield(o.Record, err) {
				return
			}
		}
	}
}

func (r *Reader) list(ctx context.Context, folder string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for info, err := range r.store.List(ctx, r.o.Prefix+folder) {
			if err != nil {
				yield(Object{}, fmt.Errorf("jsstore: list %s: %w", r.o.Prefix+folder, err))
				return
			}
			d, ok := parseKey(info.Key[len(r.o.Prefix):])
			if !ok {
				continue
			}
			o, err := r.object(ctx, info, d)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil && !errors.Is(err, ErrMalformed) {
				yield(Object{}, err)
				return
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// parseKey returns the digest of the folder of a record: K/NAME, K/K/NAME or K/K/K2/K2.
func parseKey(key string) (digest.Digest, bool) {
	parts := strings.Split(key, "/")
	if len(parts) > 2 && parts[0] == parts[1] {
		parts = parts[1:]
	}
	d, err := digest.Parse(parts[0])
	if err != nil || d.String() != parts[0] {
		return d, false
	}
	name := parts[1:]
	if len(name) == 2 && name[0] == name[1] {
		name = name[1:]
	}
	if len(name) != 1 {
		return d, false
	}
	if _, err := strconv.ParseUint(name[0], 10, 64); err == nil {
		return d, true
	}
	sub, err := digest.Parse(name[0])
	return d, err == nil && sub.String() == name[0]
}

func (r *Reader) object(ctx context.Context, info blob.Info, d digest.Digest) (Object, error) {
	o := Object{Key: info.Key}
	b, err := r.bytes(ctx, info.Key)
	if err == nil {
		o.Record, o.Format, err = Decode(b)
	}
	if err == nil && o.Digest != d {
		err = fmt.Errorf("%w: a record of %s", ErrMalformed, o.Digest)
	}
	if err != nil {
		return o, fmt.Errorf("jsstore: read %s: %w", info.Key, err)
	}
	return o, nil
}

// bytes reads a whole object that is not too large.
func (r *Reader) bytes(ctx context.Context, key string) ([]byte, error) {
	obj, err := r.store.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	size := obj.Info().Size
	if size > r.o.MaxRecord {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrMalformed, size, r.o.MaxRecord)
	}
	b := make([]byte, size)
	_, err = io.ReadFull(obj, b)
	return b, err
}

// Find yields the records of d as hash-stream's reader gives them: those of one type
// are one record with the sub-records of all.
func (r *Reader) Find(ctx context.Context, d digest.Digest) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var found []Record
		for o, err := range r.list(ctx, d.String()+"/") {
			if err != nil {
				yield(Record{}, err)
				return
			}
			if i := slices.IndexFunc(found, func(f Record) bool { return f.Type == o.Type }); i >= 0 {
				found[i].Sub = append(found[i].Sub, o.Sub...)
			} else {
				found = append(found, o.Record)
			}
		}
		for _, rec := range found {
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// Put writes one record. The same record again is the same object: the number in the
// name of one without sub-records is made of its content, where hash-stream takes
// the time and so loses one of two that it writes in one millisecond.
func Put(ctx context.Context, store blob.Putter, rec Record, f Format, o *Options) error {
	all := o.withDefaults()
	b := Encode(rec, f)
	var name string
	if len(rec.Sub) > 0 {
		name = all.Layout.key(rec.Sub[0].Digest)
	} else {
		sum := sha256.Sum256(b)
		name = strconv.FormatUint(binary.BigEndian.Uint64(sum[:])>>16, 10)
	}
	key := all.Prefix + all.Layout.key(rec.Digest) + "/" + name
	if err := store.Put(ctx, key, bytes.NewReader(b)); err != nil {
		return fmt.Errorf("jsstore: put %s: %w", key, err)
	}
	return nil
}
