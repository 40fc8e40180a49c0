// Package kv is the seam to ordered keys: indexes, pins, names. A backend is an
// embedded store or a database; package kvtest holds the suite that each must
// pass.
//
// Keys are byte strings of 1 to [MaxKey] bytes in lexicographic order. A key that has several
// values is written as one key per value and read by prefix, so that puts are
// idempotent, deletes are point deletes and nothing is read to be modified.
//
// # Errors
//
// An absent key matches [io/fs.ErrNotExist], a malformed key or operation
// [io/fs.ErrInvalid].
//
// Stores are safe for concurrent use.
package kv

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
)

// MaxKey is the length of the longest key, in bytes: what the index of every
// database takes.
const MaxKey = 2048

// Pair is a key with its value. Both belong to whoever receives them.
type Pair struct{ Key, Value []byte }

// Range is the keys from From (inclusive) to To (exclusive). A nil To means no
// upper end.
type Range struct{ From, To []byte }

// Reader reads.
type Reader interface {
	// Get returns the value of key.
	Get(ctx context.Context, key []byte) ([]byte, error)
	// Scan yields the pairs of r in the order of their keys, as of one moment
	// not before the call. It stops after the first error. The store may be used
	// while a scan is under way, but a scan holds resources until it ends.
	Scan(ctx context.Context, r Range) iter.Seq2[Pair, error]
}

// Store reads and writes.
type Store interface {
	Reader
	// Batch applies ops in order, all or none. It returns when they are durable.
	// It copies what it keeps.
	Batch(ctx context.Context, ops []Op) error
	// Update replaces the value of one key atomically by what f makes of it. The
	// old value is nil if the key is absent; a nil result deletes the key. f may
	// be called more than once and must not use the store. An error of f changes
	// nothing and is returned.
	Update(ctx context.Context, key []byte, f func(old []byte) ([]byte, error)) error
}

// Kind is what an [Op] does.
type Kind byte

// The kinds.
const (
	KindPut         Kind = iota // set Key to Value
	KindDelete                  // remove Key
	KindDeleteRange             // remove the keys from Key up to, not including, Value
)

// Op is one write of a batch.
type Op struct {
	Kind       Kind
	Key, Value []byte
}

// Put sets key to value.
func Put(key, value []byte) Op { return Op{KindPut, key, value} }

// Delete removes key. To remove an absent key is no error.
func Delete(key []byte) Op { return Op{KindDelete, key, nil} }

// DeleteRange removes every key of r, whose To must not be nil.
func DeleteRange(r Range) Op { return Op{KindDeleteRange, r.From, r.To} }

// CheckKey returns an error that matches [io/fs.ErrInvalid] if key is empty or too long.
func CheckKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("kv: key of %d bytes: %w", len(key), fs.ErrInvalid)
	}
	return nil
}

// CheckOps returns an error that matches [io/fs.ErrInvalid] if one of ops is malformed.
func CheckOps(ops []Op) error {
	for _, o := range ops {
		switch o.Kind {
		case KindPut, KindDelete:
			if err := CheckKey(o.Key); err != nil {
				return err
			}
		case KindDeleteRange:
			if o.Value == nil {
				return fmt.Errorf("kv: delete of a range without an end: %w", fs.ErrInvalid)
			}
		default:
			return fmt.Errorf("kv: operation of kind %d: %w", o.Kind, fs.ErrInvalid)
		}
	}
	return nil
}

// Prefix is the range of the keys that begin with p.
func Prefix(p []byte) Range {
	to := bytes.Clone(p)
	for len(to) > 0 && to[len(to)-1] == 0xff {
		to = to[:len(to)-1]
	}
	if len(to) == 0 {
		return Range{From: p}
	}
	to[len(to)-1]++
	return Range{From: p, To: to}
}
