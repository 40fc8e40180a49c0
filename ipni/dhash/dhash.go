// Package dhash computes what a provider index with reader privacy is keyed by
// and holds: second hashes of multihashes, encrypted value keys and encrypted
// metadata.
//
// Who looks a multihash up sends its second hash alone, and decrypts what comes
// back with the multihash itself. The server learns neither. The formats are those
// of go-libipni's package of the same name, bit for bit; its code is the standard,
// and the text of [the specification] differs from it in names and encodings.
//
// Every encryption is deterministic: the nonce is derived from passphrase and
// payload. Writers rely on it, because what is deleted is named by its ciphertext.
//
// # Errors
//
// What does not decrypt, and what is malformed, matches [digest.ErrMismatch].
//
// Functions are pure and safe for concurrent use. An [Opener] is for one goroutine at a time.
//
// [the specification]: https://github.com/ipni/specs/blob/main/IPNI.md
package dhash

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
)

// Sizes in bytes.
const (
	KeySize     = sha256.Size // of a [Key] and a [MetadataKey]
	nonceSize   = 12
	tagSize     = 16
	Overhead    = nonceSize + tagSize // what encryption adds to its payload
	MaxContext  = 64                  // of a context id (schema of advertisements)
	MaxMetadata = 1024                // of the metadata of a context (the same)
	domainSize  = sha256.BlockSize
	secondCode  = multihash.DBL_SHA2_256
)

// A domain keeps the uses of sha2-256 apart: an ASCII name, padded with zeros to
// one block of the hash.
const (
	hashDomain  = "CR_DOUBLEHASH"
	keyDomain   = "CR_ENCRYPTIONKEY"
	nonceDomain = "CR_NONCE"
)

// Key is the digest of a second multihash: what an index looks up.
type Key [KeySize]byte

// SecondHash returns the key of a multihash: the sha2-256 of the domain and mh, all of
// whose bytes count (function, length and digest).
func SecondHash(mh multihash.Multihash) Key {
	return inDomain(hashDomain, nil, mh)
}

// Multihash returns k as a multihash of 34 bytes with the function dbl-sha2-256.
func (k Key) Multihash() multihash.Multihash {
	mh := make(multihash.Multihash, 0, 2+KeySize)
	return append(append(mh, secondCode, KeySize), k[:]...)
}

// ParseKey returns the key that a multihash of the function dbl-sha2-256 holds.
func ParseKey(mh multihash.Multihash) (Key, error) {
	if len(mh) != 2+KeySize || mh[0] != secondCode || mh[1] != KeySize {
		return Key{}, fmt.Errorf("dhash: %w: not a dbl-sha2-256 multihash of 32 bytes", digest.ErrMismatch)
	}
	return Key(mh[2:]), nil
}

// MetadataKey is what encrypted metadata is found by: the sha2-256 of the value
// key, without a domain (the "hashed value key", HVK).
type MetadataKey [KeySize]byte

// ValueKey names a context of a provider: the bytes of the peer id, which know
// their own end, and those of the context id.
func ValueKey(provider peer.ID, contextID []byte) []byte {
	return append([]byte(provider), contextID...)
}

// SplitValueKey is the inverse of [ValueKey].
func SplitValueKey(valueKey []byte) (provider peer.ID, contextID []byte, err error) {
	n, _, err := multihash.MHFromBytes(valueKey)
	if err == nil {
		provider, err = peer.IDFromBytes(valueKey[:n])
	}
	if err == nil && len(valueKey)-n > MaxContext {
		err = fmt.Errorf("context id of %d bytes", len(valueKey)-n)
	}
	if err != nil {
		return "", nil, fmt.Errorf("dhash: value key: %w: %w", digest.ErrMismatch, err)
	}
	return provider, valueKey[n:], nil
}

// HashValueKey returns the key of the metadata of a value key.
func HashValueKey(valueKey []byte) MetadataKey { return sha256.Sum256(valueKey) }

// Seal encrypts payload and appends it to dst: a nonce of 12 bytes, the ciphertext,
// a tag of 16 bytes. The passphrase of a value key is the multihash that it
// was looked up by, that of metadata the value key.
func Seal(dst, payload, passphrase []byte) []byte {
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(payload)))
	nonce := inDomain(nonceDomain, length[:], payload, passphrase)
	dst = append(dst, nonce[:nonceSize]...)
	return aead(passphrase).Seal(dst, nonce[:nonceSize], payload, nil)
}

// Open decrypts what [Seal] made, and appends it to dst.
func Open(dst, sealed, passphrase []byte) ([]byte, error) {
	o := Opener{passphrase: passphrase}
	return o.Open(dst, sealed)
}

// Opener is [Open] for many values under one passphrase, whose key it derives for the first of them.
type Opener struct {
	passphrase []byte
	aead       cipher.AEAD // nil until it is needed
}

// NewOpener returns an Opener. It keeps passphrase, which must not change.
func NewOpener(passphrase []byte) *Opener { return &Opener{passphrase: passphrase} }

// Open decrypts what [Seal] made, and appends it to dst.
func (o *Opener) Open(dst, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, fmt.Errorf("dhash: open: %w: %d bytes", digest.ErrMismatch, len(sealed))
	}
	if o.aead == nil {
		o.aead = aead(o.passphrase)
	}
	out, err := o.aead.Open(dst, sealed[:nonceSize], sealed[nonceSize:], nil)
	if err != nil {
		return nil, fmt.Errorf("dhash: open: %w: %w", digest.ErrMismatch, err)
	}
	return out, nil
}

// aead returns AES-256-GCM under the key that is derived from a passphrase.
func aead(passphrase []byte) cipher.AEAD {
	key := inDomain(keyDomain, nil, passphrase)
	block, err := aes.NewCipher(key[:])
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCM(block); err == nil {
			return a
		}
	}
	panic(err) // only a key of another length
}

// inDomain hashes parts under a domain. What is hashed is short: it is laid out
// on the stack, which costs less than a hash with a state.
func inDomain(domain string, parts ...[]byte) [sha256.Size]byte {
	var space [domainSize + 8 + 256]byte
	buf := space[:domainSize]
	copy(buf, domain)
	for _, p := range parts {
		buf = append(buf, p...)
	}
	return sha256.Sum256(buf)
}
