package origin

import (
	"bytes"
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
