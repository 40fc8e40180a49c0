package index

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/hashstream/hashstream/digest"
)

// Location is where bytes are: in a pack, in an object of the pack store that is one
// blob ([StoredBlob]), or in a raw file that was never transformed. Either Pack or Path is set.
type Location struct {
	Pack digest.Digest // a pack in the pack store
	Path string        // an absolute path, or a URL without credentials
	// Version is the identity that the file at Path had (blob.Info.Identity). It is
	// part of the location: a file that changes is at another one, and what was
	// recorded of the old one is never believed of the new.
	Version string
}

// storePrefix begins the path of what is an object of its own in the pack store, under
// the key that follows. It has no version: such an object is named by its content.
const (
	storePrefix   = "store:"
	blobExtension = ".blob"
)

// BlobKey returns the key of a blob in the pack store: its CIDv1 and ".blob".
func BlobKey(d digest.Digest) string { return d.String() + blobExtension }

// ParseBlobKey is the inverse of [BlobKey]. Other keys match [digest.ErrInvalid].
func ParseBlobKey(key string) (digest.Digest, error) {
	name, ok := strings.CutSuffix(key, blobExtension)
	d, err := digest.Parse(name)
	if !ok || err != nil || BlobKey(d) != key {
		return digest.Digest{}, fmt.Errorf("index: blob key %q: %w", key, digest.ErrInvalid)
	}
	return d, nil
}

// StoredBlob is the location of a blob under its [BlobKey] in the pack store.
func StoredBlob(d digest.Digest) Location { return Location{Path: storePrefix + BlobKey(d)} }

// StoreKey returns the key in the pack store of an object that is no pack. It reports
// false for packs and for what lies elsewhere.
func (l Location) StoreKey() (key string, ok bool) { return strings.CutPrefix(l.Path, storePrefix) }

const (
	locationPack = 1
	locationPath = 2
)

// String names the location for people.
func (l Location) String() string {
	if l.Path != "" {
		return l.Path
	}
	return l.Pack.String()
}

// ref is the short name of a location in keys and plans: the first 16 bytes of
// the sha2-256 of its encoding. It keeps a block's record small however long the
// location is, and makes the put of a location idempotent.
type ref [16]byte

func (l Location) ref() ref {
	sum := sha256.Sum256(l.Encode())
	return ref(sum[:16])
}

// Encode returns the binary form: a kind byte, then the multihash of the pack, or
// the length of the version, the version and the path.
func (l Location) Encode() []byte {
	if l.Path != "" {
		b := binary.AppendUvarint([]byte{locationPath}, uint64(len(l.Version)))
		return append(append(b, l.Version...), l.Path...)
	}
	return l.Pack.AppendTo([]byte{locationPack})
}

// ParseLocation is the inverse of [Location.Encode].
func ParseLocation(b []byte) (Location, error) {
	if len(b) < 2 {
		return Location{}, fmt.Errorf("%w: location of %d bytes", ErrCorrupt, len(b))
	}
	switch b[0] {
	case locationPack:
		d, err := digest.FromBytes(b[1:])
		if err != nil {
			return Location{}, fmt.Errorf("%w: location: %v", ErrCorrupt, err)
		}
		return Location{Pack: d}, nil
	case locationPath:
		d := decoder{b: string(b[1:])}
		n := d.count(len(d.b) - 1)
		if d.err != nil || n >= len(d.b) {
			return Location{}, fmt.Errorf("%w: location of a file without a path", ErrCorrupt)
		}
		return Location{Version: d.b[:n], Path: d.b[n:]}, nil
	}
	return Location{}, fmt.Errorf("%w: location of kind %d", ErrCorrupt, b[0])
}
