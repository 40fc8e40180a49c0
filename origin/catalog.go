package origin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv"
)

// The first byte of a key says what it holds; docs/formats/catalog.md has the values.
const (
	keySource  = 'O' // ‖ source id                       → source
	keyCatalog = 'F' // ‖ source id ‖ hash of dir ‖ name  → entry
	keySame    = 'V' // ‖ hash of profile and file        → CID, path of who has it
)

type sourceID [16]byte

// maxName is the length of the longest name of a file, in bytes: what S3 takes of a
// whole key.
const maxName = 1024

func sourceKey(id sourceID) []byte     { return append([]byte{keySource}, id[:]...) }
func catalogPrefix(id sourceID) []byte { return append([]byte{keyCatalog}, id[:]...) }

// dirPrefix is how the keys of the entries of one directory begin.
func dirPrefix(id sourceID, dir string) []byte {
	sum := sha256.Sum256([]byte(dir))
	return append(catalogPrefix(id), sum[:16]...)
}

func sameKey(src Source, same string) []byte {
	h := sha256.New()
	if src.Blob {
		fmt.Fprintf(h, "blob\x00%s", same)
	} else {
		fmt.Fprintf(h, "%+v\x00%s", src.Profile, same)
	}
	return append([]byte{keySame}, h.Sum(nil)[:16]...)
}

// The kinds of entries.
const (
	kindFile    = 'f'
	kindDir     = 'd'
	kindSymlink = 'l'
)

// entry is what is known of a name in a directory.
type entry struct {
	kind     byte
	size     int64 // of a file, in bytes
	cid      cid.Cid
	same     []byte // key of the file's own identity, or empty
	location index.Location
	target   string // of a symlink
}

const entryVersion = 1

func (e entry) encode() []byte {
	b := []byte{entryVersion, e.kind}
	switch e.kind {
	case kindFile:
		b = binary.AppendUvarint(b, uint64(e.size))
		b = appendBytes(b, e.cid.Bytes())
		b = appendBytes(b, e.same)
		b = append(b, e.location.Encode()...)
	case kindSymlink:
		b = append(b, e.target...)
	}
	return b
}

func appendBytes(b, v []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(v))), v...) }

func decodeEntry(b []byte) (entry, error) {
	e, err := parseEntry(b)
	if err != nil {
		return entry{}, fmt.Errorf("origin: catalog: %w: %w", digest.ErrMismatch, err)
	}
	return e, nil
}

var errEntry = errors.New("malformed entry")

func parseEntry(b []byte) (e entry, err error) {
	if len(b) < 2 || b[0] != entryVersion {
		return entry{}, errEntry
	}
	e.kind, b = b[1], b[2:]
	switch e.kind {
	case kindDir:
		if len(b) > 0 {
			return entry{}, errEntry
		}
		return e, nil
	case kindSymlink:
		e.target = string(b)
		return e, nil
	case kindFile:
		return e, e.parseFile(b)
	}
	return entry{}, errEntry
}

func (e *entry) parseFile(b []byte) error {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > 1<<62 || n > 1 && b[n-1] == 0 {
		return errEntry
	}
	e.size = int64(size)
	c, b, err := takeBytes(b[n:])
	if err != nil {
		return err
	}
	if e.cid, err = cid.Cast(c); err != nil {
		return err
	}
	if e.same, b, err = takeBytes(b); err != nil {
		return err
	}
	e.location, err = index.ParseLocation(b)
	return err
}

func takeBytes(b []byte) (v, rest []byte, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) || k > 1 && b[k-1] == 0 {
		return nil, nil, errEntry
	}
	return b[k:][:n:n], b[k+int(n):], nil
}

// sourceRecord is the stored form of a Status.
type sourceRecord struct {
	Version int `json:"version"`
	Status
	Root  string   `json:"root"`
	Packs []string `json:"packs"`
	Dirty bool     `json:"dirty"`
}

const sourceVersion = 1

func (s Status) encode() []byte {
	r := sourceRecord{Version: sourceVersion, Status: s, Packs: s.packs, Dirty: s.dirty}
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
	r.packs, r.dirty = r.Packs, r.Dirty
	return r.Status, nil
}

// known returns the CID of a file with the same identity, if that is known.
func (x *Indexer) known(ctx context.Context, key []byte) (cid.Cid, error) {
	b, err := x.stores.KV.Get(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return cid.Undef, nil
	}
	if err != nil {
		return cid.Undef, err
	}
	c, _, err := takeBytes(b)
	if err != nil {
		return cid.Undef, err
	}
	return cid.Cast(c)
}

func sameValue(c cid.Cid, path string) []byte { return append(appendBytes(nil, c.Bytes()), path...) }

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

func putSource(st Status) kv.Op { return kv.Put(sourceKey(st.id()), st.encode()) }
