package digest

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"github.com/multiformats/go-multihash"
	"github.com/zeebo/blake3"
)

// Code is a hash function's number in the multicodec table.
type Code uint64

// The hash functions that are computed here.
const (
	Identity Code = 0x00
	SHA256   Code = 0x12
	SHA512   Code = 0x13
	BLAKE3   Code = 0x1e
)

// ParseCode finds a hash function by its multicodec name, such as "sha2-256".
func ParseCode(name string) (Code, error) {
	for _, c := range []Code{SHA256, SHA512, BLAKE3, Identity} {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("%w: %q (known: sha2-256, sha2-512, blake3)", ErrUnsupported, name)
}

// String returns the multicodec name, or the number of an unnamed code.
func (c Code) String() string {
	if name, ok := multihash.Codes[uint64(c)]; ok {
		return name
	}
	return fmt.Sprintf("0x%x", uint64(c))
}

// size is the full length of the function's value in bytes.
func (c Code) size() (int, bool) {
	switch c {
	case SHA256, BLAKE3:
		return 32, true
	case SHA512:
		return 64, true
	}
	return 0, false
}

// Hasher digests a stream. It is an [io.Writer] that never fails.
type Hasher struct {
	code Code
	hash.Hash
}

// NewHasher returns a Hasher for sha2-256, sha2-512 or blake3.
func NewHasher(code Code) (*Hasher, error) {
	switch code {
	case SHA256:
		return &Hasher{code, sha256.New()}, nil
	case SHA512:
		return &Hasher{code, sha512.New()}, nil
	case BLAKE3:
		return &Hasher{code, blake3.New()}, nil
	}
	return nil, fmt.Errorf("%w: %s has no streaming form", ErrUnsupported, code)
}

// Digest returns the digest of what was written so far.
func (h *Hasher) Digest() Digest { return join(h.code, h.Hash.Sum(nil)) }
