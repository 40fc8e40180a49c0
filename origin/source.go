package origin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/origin/catalog"
)

// keySource begins the key of a source: ‖ source id → source.
const keySource = 'O'

// sameKey is the key of what a file of the source has in common under all its names.
func (s Source) sameKey(same string) []byte {
	if s.Blob {
		return catalog.SameKey("blob", same)
	}
	return catalog.SameKey(fmt.Sprintf("%+v", s.Profile), same)
}

// maxName is the length of the longest name of a file, in bytes: what S3 takes of a
// whole key.
const maxName = 1024

func sourceKey(id catalog.ID) []byte { return append([]byte{keySource}, id[:]...) }

func putSource(st Status) kv.Op { return kv.Put(sourceKey(st.id()), st.encode()) }

// sourceRecord is the stored form of a Status.
type sourceRecord struct {
	Version int `json:"version"`
	Status
	Root  string   `json:"root"`
	Plan  string   `json:"plan"`
	Packs []string `json:"packs"`
	Dirty bool     `json:"dirty"`
}

const sourceVersion = 1

func (s Status) encode() []byte {
	r := sourceRecord{Version: sourceVersion, Status: s, Plan: s.plan, Packs: s.packs, Dirty: s.dirty}
	if s.Root.Defined() {
		r.Root = s.Root.String()
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // it is texts and numbers
	}
	return b
}

func decodeSource(b []byte) (Status, error) {
	var r sourceRecord
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode(&r)
	if err == nil && r.Version != sourceVersion {
		err = fmt.Errorf("version %d", r.Version)
	}
	if err == nil && r.Root != "" {
		r.Status.Root, err = cid.Decode(r.Root)
	}
	if err != nil {
		return Status{}, fmt.Errorf("source: %w: %w", digest.ErrMismatch, err)
	}
	r.plan, r.packs, r.dirty = r.Plan, r.Packs, r.Dirty
	return r.Status, nil
}

// writer collects writes into batches.
type writer struct {
	kv    kv.Store
	ops   []kv.Op
	bytes int
}

const maxBatch = 1 << 20 // bytes

func (w *writer) put(ctx context.Context, op kv.Op) error {
	w.ops = append(w.ops, op)
	if w.bytes += len(op.Key) + len(op.Value); w.bytes > maxBatch {
		return w.flush(ctx)
	}
	return nil
}

func (w *writer) flush(ctx context.Context) error {
	if len(w.ops) == 0 {
		return nil
	}
	err := w.kv.Batch(ctx, w.ops)
	w.ops, w.bytes = w.ops[:0], 0
	return err
}
