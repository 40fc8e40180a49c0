// Package inspect reads much of a provider index for commands: it checks the store against
// chains, writes backups, and compares the index with another.
//
// # Errors
//
// What is asked for wrongly matches [io/fs.ErrInvalid], what a node does not have
// [errors.ErrUnsupported]; other errors are those of the packages that do the work.
//
// An Index is safe for concurrent use.
package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/backup"
	"github.com/hashstream/hashstream/ipni/coverage"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/kv"
)

// Records is where records are written and looked up: a store, or the nodes of a cluster.
type Records interface {
	ipni.Sink
	ipni.Lookup
	ipni.SealedReader
}

// Index is a provider index as it is inspected.
type Index struct {
	State     kv.Store     // providers and progress of ingestion
	Store     *store.Store // of this node, or nil
	Records   Records      // the same store, or those of a cluster
	Registry  *registry.Registry
	Providers coverage.Directory
	Open      func(ctx context.Context, publisher peer.AddrInfo) (ipni.Chain, error)
	// Hold keeps ingestion from changing a context; nil if this node does not ingest.
	Hold func(ctx context.Context, c ipni.Context) (release func(), err error)
}

// Request is what a command asks that reads much of the index, or writes its answer as
// it comes.
type Request struct {
	Op string `json:"op"`
	// For OpVerify: one publisher, or all; the share of multihashes that is checked, all if 0; whether
	// what is missing is put back.
	Peer   string  `json:"peer,omitempty"`
	Sample float64 `json:"sample,omitempty"`
	Repair bool    `json:"repair,omitempty"`
	// For OpCoverage: the URL of the other index; what is looked up in both, or nothing to compare
	// providers; lookups a second at most; advertisements of a chain that are read to tell a
	// distance, or 0 not to ask publishers.
	Against     string   `json:"against,omitempty"`
	Multihashes [][]byte `json:"multihashes,omitempty"`
	Rate        float64  `json:"rate,omitempty"`
	Walk        int      `json:"walk,omitempty"`
}

// The operations of a [Request].
const (
	OpVerify   = "verify"   // answers a [Verified] for each advertisement that is not in order, and each chain
	OpBackup   = "backup"   // answers what package backup writes
	OpCoverage = "coverage" // answers a [coverage.Reads] if there are multihashes, else [coverage.Providers]
)

// Parse returns the request in args, if it is one.
func Parse(args []byte) (r Request, ok bool) {
	if json.Unmarshal(args, &r) != nil {
		return r, false
	}
	return r, r.Op == OpVerify || r.Op == OpBackup || r.Op == OpCoverage
}

// Do does what r asks, and writes what it answers to out.
func (ix Index) Do(ctx context.Context, r Request, out io.Writer) error {
	switch r.Op {
	case OpVerify:
		return ix.verify(ctx, r, out)
	case OpBackup:
		if err := ix.whole(); err != nil {
			return err
		}
		_, err := backup.Write(ctx, out, ix.Store, ix.State, time.Now())
		return err
	case OpCoverage:
		answer, err := ix.coverage(ctx, r)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(answer)
	}
	return fmt.Errorf("inspect: operation %q: %w", r.Op, fs.ErrInvalid)
}

// Restore puts what a backup holds into the store of this node. Nothing else may be at work on
// the index.
func (ix Index) Restore(ctx context.Context, r io.ReadSeeker, merge bool) (backup.Totals, error) {
	if err := ix.whole(); err != nil {
		return backup.Totals{}, err
	}
	return backup.Restore(ctx, ix.Store, ix.State, r, &backup.Options{Merge: merge})
}

// whole returns an error unless all records are in the store of this node. Progress of ingestion
// belongs to all of them: with a part, chains would count as read whose records are missing.
func (ix Index) whole() error {
	if ix.Store == nil {
		return errNoStore
	}
	if own, ok := ix.Records.(*store.Store); !ok || own != ix.Store {
		return errPart
	}
	return nil
}

// errPart is why a node that shares an index is not backed up by itself.
var errPart = fmt.Errorf("inspect: this node has a part of an index that other nodes have parts of too: their copies, "+
	"and a mirror of the chains (mirror.store), are what it is made anew from: %w", errors.ErrUnsupported)

// errNoStore is why a node that keeps no records cannot tell of them.
var errNoStore = fmt.Errorf("inspect: this node stores no records: %w", errors.ErrUnsupported)
