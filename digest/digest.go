// Package digest provides multihashes as comparable, validated Go values.
//
// A [Digest] names bytes by their hash. It is the key of every index, the name
// of every pack and what every received byte is checked against. The format is
// the multihash specification's (https://github.com/multiformats/multihash):
// a varint hash code, a varint length and the hash value.
//
// The package hashes and verifies sha2-256, sha2-512, blake3 and identity.
// Digests of other functions are carried and compared like any value, but
// [Digest.Verify] refuses them: what cannot be checked is never called checked.
//
// # Errors
//
// Malformed input matches [ErrInvalid], bytes that do not hash to their digest
// match [ErrMismatch], and a hash function that is not implemented here matches
// [ErrUnsupported].
//
// Digests are immutable and safe for concurrent use.
package digest

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/zeebo/blake3"
)

// MaxIdentity is the longest identity digest in bytes (IPIP-512). Longer ones
// are refused, because they would let a name carry unbounded content.
const MaxIdentity = 128

const (
	// maxSize bounds the hash value of a carried digest, in bytes.
	maxSize = 128
	// maxText bounds the text of a CID, in bytes. The longest one that can pass is
	// in base 2; decoding base 58 takes quadratic time.
	maxText = 2048
)

var (
	// ErrInvalid reports bytes or text that are not a well-formed multihash or CID.
	ErrInvalid = errors.New("invalid digest")
	// ErrMismatch reports content that does not hash to its digest.
	ErrMismatch = errors.New("content does not match its digest")
	// ErrUnsupported reports a hash function that cannot be computed here.
	ErrUnsupported = errors.New("unsupported hash function")
)

// Digest is a validated multihash. The zero value is no digest.
type Digest struct{ multihash string }

// FromBytes validates the multihash in b, which must hold nothing else.
func FromBytes(b []byte) (Digest, error) {
	code, value, err := split(b)
	if err != nil {
		return Digest{}, err
	}
	if code == Identity && len(value) > MaxIdentity {
		return Digest{}, tooLong(len(value))
	}
	if want, known := code.size(); known && len(value) > want {
		return Digest{}, fmt.Errorf("%w: %s of %d bytes, want %d", ErrInvalid, code, len(value), want)
	}
	if len(value) > maxSize {
		return Digest{}, fmt.Errorf("%w: hash of %d bytes, at most %d are allowed", ErrInvalid, len(value), maxSize)
	}
	return Digest{string(b)}, nil
}

// FromCID returns the digest of c.
func FromCID(c cid.Cid) (Digest, error) {
	if !c.Defined() {
		return Digest{}, fmt.Errorf("%w: undefined CID", ErrInvalid)
	}
	return FromBytes(c.Hash())
}

// Parse reads a digest from the text of a CID of any version and multibase.
func Parse(s string) (Digest, error) {
	if len(s) > maxText {
		return Digest{}, fmt.Errorf("%w: text of %d bytes", ErrInvalid, len(s))
	}
	c, err := cid.Decode(s)
	if err != nil {
		return Digest{}, fmt.Errorf("%w: %q: %v", ErrInvalid, s, err)
	}
	return FromCID(c)
}

func tooLong(n int) error {
	return fmt.Errorf("%w: identity of %d bytes, at most %d are allowed", ErrInvalid, n, MaxIdentity)
}

// Sum hashes data with the function of code.
func Sum(code Code, data []byte) (Digest, error) {
	if code == Identity && len(data) > MaxIdentity {
		return Digest{}, tooLong(len(data))
	}
	var hashed [MaxIdentity]byte
	value, err := appendHash(hashed[:0], code, data)
	if err != nil {
		return Digest{}, err
	}
	return join(code, value), nil
}

// appendHash appends the bare hash of data.
func appendHash(b []byte, code Code, data []byte) ([]byte, error) {
	switch code {
	case SHA256:
		value := sha256.Sum256(data)
		return append(b, value[:]...), nil
	case SHA512:
		value := sha512.Sum512(data)
		return append(b, value[:]...), nil
	case BLAKE3:
		value := blake3.Sum256(data)
		return append(b, value[:]...), nil
	case Identity:
		return append(b, data...), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrUnsupported, code)
}

// Code returns the hash function.
func (d Digest) Code() Code {
	code, _ := binary.Uvarint([]byte(d.multihash))
	return Code(code)
}

// Value returns a copy of the bare hash value.
func (d Digest) Value() []byte {
	_, value, _ := split([]byte(d.multihash))
	return value
}

// Bytes returns a copy of the multihash: code, length and value.
func (d Digest) Bytes() []byte { return []byte(d.multihash) }

// AppendTo appends the multihash to b.
func (d Digest) AppendTo(b []byte) []byte { return append(b, d.multihash...) }

// IsZero reports whether d is the zero value.
func (d Digest) IsZero() bool { return d.multihash == "" }

// CID returns the version 1 CID of d with a codec, undefined for the zero value.
func (d Digest) CID(codec uint64) cid.Cid {
	if d.IsZero() {
		return cid.Undef
	}
	return cid.NewCidV1(codec, multihash.Multihash(d.multihash))
}

// String returns the CIDv1 of d with the raw codec in base32, the form in which
// packs and records are named for people.
func (d Digest) String() string {
	if d.IsZero() {
		return "(no digest)"
	}
	return d.CID(cid.Raw).String()
}

// Inline returns the content that an identity digest carries, and whether d is one.
func (d Digest) Inline() ([]byte, bool) {
	if d.IsZero() || d.Code() != Identity {
		return nil, false
	}
	return d.Value(), true
}

// Verify hashes data and compares. It returns nil only if data is what d names:
// otherwise an error that matches [ErrMismatch], or [ErrUnsupported] where the
// function, or a truncation of its value, cannot be checked.
func (d Digest) Verify(data []byte) error {
	var room [multihashRoom]byte // this runs for every block: nothing of it goes to the heap
	code, value, err := split(append(room[:0], d.multihash...))
	if err != nil {
		return d.mismatch() // the zero Digest names nothing
	}
	if want, known := code.size(); known && len(value) != want {
		return fmt.Errorf("%w: %s truncated to %d bytes", ErrUnsupported, code, len(value))
	}
	if code == Identity && len(data) > MaxIdentity {
		return d.mismatch()
	}
	var hashed [MaxIdentity]byte
	got, err := appendHash(hashed[:0], code, data)
	if err != nil {
		return err
	}
	if string(got) != string(value) {
		return d.mismatch()
	}
	return nil
}

func (d Digest) mismatch() error { return fmt.Errorf("%s: %w", d, ErrMismatch) }

// multihashRoom is for any multihash whose function is known, in bytes.
const multihashRoom = MaxIdentity + 8

func join(code Code, value []byte) Digest {
	var room [multihashRoom]byte
	b := binary.AppendUvarint(room[:0], uint64(code))
	b = binary.AppendUvarint(b, uint64(len(value)))
	return Digest{string(append(b, value...))}
}

// split takes a multihash apart. It accepts only the shortest varints, so that
// one hash has one spelling.
func split(b []byte) (Code, []byte, error) {
	code, rest, err := uvarint(b)
	if err != nil {
		return 0, nil, err
	}
	size, value, err := uvarint(rest)
	if err != nil {
		return 0, nil, err
	}
	if size != uint64(len(value)) {
		return 0, nil, fmt.Errorf("%w: says %d bytes of hash, has %d", ErrInvalid, size, len(value))
	}
	return Code(code), value, nil
}

func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 9 || (n > 1 && b[n-1] == 0) {
		return 0, nil, fmt.Errorf("%w: malformed varint", ErrInvalid)
	}
	return v, b[n:], nil
}
