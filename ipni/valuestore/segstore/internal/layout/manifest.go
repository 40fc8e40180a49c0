package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// A manifest begins with a head; the checksum of the rest in 8 hex digits and a line feed follow.
const (
	head    = "hashstream values 2 "
	oldHead = "hashstream values 1 " // with the removed tags in it
)

// Manifest is what a store consists of, as its file says it.
type Manifest struct {
	KeyBytes int                       `json:"key_bytes"`
	Next     uint64                    `json:"next"`              // number of the next file
	Log      uint64                    `json:"log"`               // logs from this number on hold what is in no segment
	Gen      uint64                    `json:"gen"`               // of the last removal
	Removed  map[valuestore.Tag]uint64 `json:"removed,omitempty"` // tags to generations; in version 1 only
	Tags     ManifestTags              `json:"tags"`              // the removed tags
	L0       []ManifestFile            `json:"l0"`
	Parts    []ManifestPart            `json:"parts"`
}

// ManifestTags is a file of removed tags; number 0 is none.
type ManifestTags struct {
	Number uint64 `json:"n"`
	Size   int64  `json:"size"`
}

// ManifestFile is a segment.
type ManifestFile struct {
	Number uint64 `json:"n"`
	Size   int64  `json:"size"`
	Level  int    `json:"level,omitempty"`
	Gen    uint64 `json:"gen,omitempty"`
}

// ManifestPart is a partition.
type ManifestPart struct {
	Floor uint64         `json:"floor"`
	Runs  []ManifestFile `json:"runs"`
}

// Manifest returns l as a manifest, in which the caller fills the rest.
func (l Layout) Manifest() Manifest {
	m := Manifest{Gen: l.Gen, L0: list(l.L0)}
	for _, p := range l.Parts {
		m.Parts = append(m.Parts, ManifestPart{p.Floor, list(p.Runs)})
	}
	return m
}

func list(files []*File) []ManifestFile {
	list := []ManifestFile{}
	for _, f := range files {
		list = append(list, ManifestFile{f.Number, f.Bytes, f.Level, f.Gen})
	}
	return list
}

// Encode returns the bytes of the file.
func (m Manifest) Encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("layout: encode manifest: %w", err)
	}
	return seal(body), nil
}

func seal(body []byte) []byte {
	return append(fmt.Appendf(nil, "%s%08x\n", head, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))), body...)
}

// ParseManifest is strict: what it does not know it refuses.
func ParseManifest(b []byte) (*Manifest, error) {
	old := false
	malformed := func(err any) (*Manifest, error) {
		return nil, fmt.Errorf("layout: read manifest: %w: %v", digest.ErrMismatch, err)
	}
	first, body, ok := bytes.Cut(b, []byte("\n"))
	sum, found := strings.CutPrefix(string(first), head)
	if !found {
		sum, old = strings.CutPrefix(string(first), oldHead)
	}
	if !ok || !found && !old {
		return malformed("not one of version 1 or 2")
	}
	if fmt.Sprintf("%08x", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))) != sum {
		return malformed("wrong checksum")
	}
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return malformed(err)
	}
	if n := len(m.Parts); n == 0 || n > 256 || n&(n-1) != 0 {
		return malformed(fmt.Sprintf("%d partitions", n))
	}
	if old && m.Tags != (ManifestTags{}) || !old && m.Removed != nil {
		return malformed("removed tags of another version")
	}
	return &m, nil
}
