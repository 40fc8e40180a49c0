// Package cluster spreads a provider index over many nodes. The state that they
// share lies in a [kv.Store]; the nodes are reached through [ipni.SealedStore].
//
// Keys are cut into 256 partitions by their first byte, those of metadata too. A partition
// has several replicas, which rendezvous hashing chooses. Package router writes to all
// of them and reads from the quickest; package rebalance moves partitions between
// nodes. docs/formats/cluster.md gives the rows and the rules that keep what was acknowledged.
//
// # What is promised
//
// A write that was acknowledged is on a replica that is in sync, and every replica that
// does not have it has been marked before. Absence is told only if every replica that
// is in sync said so; else there is an error. What a replica that is not in sync has is
// told when no other can be asked.
//
// Clocks are not compared between nodes. Each measures how long something has stood still by its
// own monotonic clock; the rates of these clocks must agree within a tenth.
//
// # Errors
//
// [ErrUnavailable] is a partition for which not enough replicas answered; it matches
// [context.DeadlineExceeded] too if that was for want of time. A malformed row or answer matches
// [digest.ErrMismatch], malformed arguments [io/fs.ErrInvalid]. [ErrReplaced] tells a
// member that another process has taken its name, [ErrForgotten] that it is a member no more.
//
// All types are safe for concurrent use.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

// Errors.
var (
	ErrUnavailable = errors.New("cluster: too few replicas answered")
	ErrReplaced    = errors.New("cluster: another process has this member's name")
	ErrForgotten   = errors.New("cluster: the member's row was removed")
)

// Partitions is into how many parts the keys are cut.
const Partitions = 256

// Node is the store of a member, here or elsewhere. Values come in ascending order of
// their bytes, so that another replica can continue an answer.
type Node interface {
	ipni.SealedStore
	Exporter
}

// Exporter yields what a store holds, so that another can have it too. Both
// methods yield as of one moment not before the call, in the order of keys, and stop after
// the first error; an export that ends without one is complete. Bytes are valid until the next
// are yielded.
type Exporter interface {
	// ExportSealed yields the records of r, once for each group that they are in.
	ExportSealed(ctx context.Context, r valuestore.Range) iter.Seq2[Record, error]
	// ExportMetadata yields the metadata whose keys lie in r.
	ExportMetadata(ctx context.Context, r valuestore.Range) iter.Seq2[Metadata, error]
}

// Record is an encrypted value key of a group.
type Record struct {
	Group ipni.SealedGroup
	Key   dhash.Key
	Value []byte
}

// Metadata is encrypted metadata.
type Metadata struct {
	Key    dhash.MetadataKey
	Sealed []byte
}

// PartitionRange returns the keys of a partition.
func PartitionRange(p byte) valuestore.Range {
	r := valuestore.Everything()
	r.From[0], r.To[0] = p, p
	return r
}

// Timing is how long things may take. It must be the same for all nodes of a
// cluster: [Members.Join] refuses a node that has another.
type Timing struct {
	// TTL is how long the heartbeat of a member may stand still until it counts as dead; default 15 s.
	TTL time.Duration `json:"ttl"`
	// View is how old the table may be that a write or an absence relies on; default 3 s.
	View time.Duration `json:"view"`
	// Write is how long a replica may take for a write until it counts as failed; default 20 s.
	Write time.Duration `json:"write"`
}

// WithDefaults returns t with the defaults for what is zero.
func (t Timing) WithDefaults() Timing {
	for field, value := range map[*time.Duration]time.Duration{&t.TTL: 15 * time.Second, &t.View: 3 * time.Second, &t.Write: 20 * time.Second} {
		if *field <= 0 {
			*field = value
		}
	}
	return t
}

// Settle is how long after a change of the table the last write that
// does not know of it has ended, with a tenth for clocks.
func (t Timing) Settle() time.Duration { return (t.View + t.Write) * 11 / 10 }

// Prefixes of the keys.
const (
	memberPrefix    = "Ncm" // the id follows
	partitionPrefix = "Ncp" // one byte follows
	leaseKey        = "Ncl"
	timingKey       = "Nct"
	foundingKey     = "Ncc"
)

// check is implemented by rows.
type check interface{ check() error }

// decode reads a row, which must be exactly what encode makes of it.
func decode[T check](key, b []byte, row T) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(row)
	if err == nil {
		err = row.check()
	}
	if err == nil && !bytes.Equal(encode(row), b) {
		err = errors.New("not in the canonical form")
	}
	if err != nil {
		return fmt.Errorf("cluster: row %q: %w: %w", key, digest.ErrMismatch, err)
	}
	return nil
}

func encode(row check) []byte {
	b, err := json.Marshal(row)
	if err != nil {
		panic(err) // rows are structs of strings and numbers
	}
	return b
}

// update changes one row by f, which gets a zero row if there is none and reports
// whether to write.
func update[T any, P interface {
	*T
	check
}](ctx context.Context, store kv.Store, key string, f func(row P, exists bool) (write bool, err error)) error {
	return store.Update(ctx, []byte(key), func(old []byte) ([]byte, error) {
		row := P(new(T))
		if old != nil {
			if err := decode([]byte(key), old, row); err != nil {
				return nil, err
			}
		}
		write, err := f(row, old != nil)
		if err != nil || !write {
			return old, err
		}
		if err := row.check(); err != nil {
			return nil, fmt.Errorf("cluster: row %q: %w: %w", key, fs.ErrInvalid, err)
		}
		return encode(row), nil
	})
}
