package ad

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/ingest/schema"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
)

// Limits of a block of entries, besides [ipni.MaxBlock].
const (
	MaxEntries   = 1 << 17 // multihashes in one; those of 34 bytes fill a block before that
	MaxMultihash = 1024    // bytes of a multihash
)

// Entries is one block of the multihashes of an advertisement.
type Entries struct {
	Multihashes ipni.Multihashes // well-formed
	Count       int              // of the multihashes
	Links       []cid.Cid        // what follows: the next chunk, or the children of a HAMT node
}

// DecodeEntries checks a block of entries and returns what it holds: a chunk, or the
// root or an inner node of a HAMT whose keys are multihashes. All multihashes must be
// well-formed, and a chunk without any must be the last one.
func DecodeEntries(c cid.Cid, data []byte) (_ Entries, err error) {
	defer catch(&err, "decode entries", c)
	if err := check(c, data, ipni.MaxBlock); err != nil {
		return Entries{}, err
	}
	if c.Type() == dagJSON {
		if e, ok := parseChunk(data); ok {
			return e.checked()
		}
	}
	if err := checkTexts(data, maxEntriesText, c); err != nil {
		return Entries{}, err
	}
	chunk, err := schema.BytesToEntryChunk(c, data)
	if err != nil {
		if e, ok, err := decodeHAMT(c, data); ok {
			return e, err
		}
		return Entries{}, err
	}
	var e Entries
	for _, mh := range chunk.Entries {
		if err := e.add(mh); err != nil {
			return Entries{}, err
		}
	}
	if next := linked(chunk.Next); next.Defined() {
		e.Links = []cid.Cid{next}
	}
	return e.checked()
}

// checked returns e, or nothing and the error of checkChunk.
func (e Entries) checked() (Entries, error) {
	if err := e.checkChunk(); err != nil {
		return Entries{}, err
	}
	return e, nil
}

// checkChunk refuses what a chain of chunks could go on with for ever.
func (e *Entries) checkChunk() error {
	switch {
	case e.Count > MaxEntries:
		return tooMany()
	case e.Count == 0 && len(e.Links) > 0:
		return errors.New("a chunk without multihashes has a next one")
	}
	for _, next := range e.Links {
		if err := ipni.CheckCID(next); err != nil {
			return err
		}
	}
	return nil
}

func tooMany() error { return fmt.Errorf("more than %d multihashes", MaxEntries) }

// add appends a multihash.
func (e *Entries) add(mh []byte) error {
	switch {
	case e.Count >= MaxEntries:
		return tooMany()
	case !wellFormed(mh):
		return fmt.Errorf("entry %d is not a multihash of at most %d bytes", e.Count, MaxMultihash)
	}
	e.Multihashes = append(e.Multihashes, mh...)
	e.Count++
	return nil
}

// wellFormed reports whether mh is one multihash and no more.
func wellFormed(mh []byte) bool {
	if len(mh) >= 2 && mh[0] < 0x80 && mh[1] < 0x80 { // varints of one byte
		return int(mh[1]) == len(mh)-2
	}
	if len(mh) > MaxMultihash {
		return false
	}
	n, _, err := multihash.MHFromBytes(mh)
	return err == nil && n == len(mh)
}

// The parts of a chunk in canonical dag-json: sorted keys, no spaces.
const (
	chunkOpen  = `{"Entries":[`
	entryOpen  = `{"/":{"bytes":"`
	entryClose = `"}}`
	nextOpen   = `,"Next":{"/":"`
	nextClose  = `"}}`
)

// parseChunk reads a chunk as publishers write it, in one pass and without a tree of
// nodes. Whatever is not exactly of that form, or not good, is left to the library.
func parseChunk(data []byte) (Entries, bool) {
	rest, ok := bytes.CutPrefix(data, []byte(chunkOpen))
	if !ok {
		return Entries{}, false
	}
	e := Entries{Multihashes: make(ipni.Multihashes, 0, arenaSize(rest))}
	for more := !bytes.HasPrefix(rest, []byte("]")); more; {
		if e.Count > MaxEntries {
			return e, false
		}
		if rest, ok = e.parseEntry(rest); !ok || len(rest) == 0 {
			return Entries{}, false
		}
		more = rest[0] == ','
		if more {
			rest = rest[1:]
		}
	}
	if rest, ok = bytes.CutPrefix(rest, []byte("]")); !ok {
		return Entries{}, false
	}
	return e, e.parseNext(rest)
}

// arenaSize estimates the bytes of all multihashes by the size of the first.
func arenaSize(entries []byte) int {
	n := bytes.IndexByte(entries, '}') + len("},")
	text := n - len(entryOpen) - len(entryClose)
	if text <= 0 {
		return 0
	}
	return (len(entries)/n + 1) * base64.RawStdEncoding.DecodedLen(text)
}

// parseEntry appends the entry at the beginning of rest and returns what follows it.
func (e *Entries) parseEntry(rest []byte) ([]byte, bool) {
	if len(rest) < len(entryOpen) || string(rest[:len(entryOpen)]) != entryOpen {
		return nil, false
	}
	rest = rest[len(entryOpen):]
	size := 46 // a multihash of 34 bytes, as nearly all are
	if len(rest) <= size || rest[size] != '"' {
		if size = bytes.IndexByte(rest, '"'); size < 0 {
			return nil, false
		}
	}
	old, n := len(e.Multihashes), base64.RawStdEncoding.DecodedLen(size)
	e.Multihashes = slices.Grow(e.Multihashes, n)
	mh := e.Multihashes[old : old+n]
	// The decoder passes over line breaks, which the count betrays.
	if got, err := base64.RawStdEncoding.Decode(mh, rest[:size]); err != nil || got != n || size%4 == 1 {
		return nil, false
	}
	if !wellFormed(mh) {
		return nil, false
	}
	e.Multihashes = e.Multihashes[:old+n]
	e.Count++
	return bytes.CutPrefix(rest[size:], []byte(entryClose))
}

// parseNext reads the end of a chunk: whether there is a next one.
func (e *Entries) parseNext(rest []byte) bool {
	if string(rest) == "}" {
		return true
	}
	rest, ok := bytes.CutPrefix(rest, []byte(nextOpen))
	if !ok {
		return false
	}
	text, ok := bytes.CutSuffix(rest, []byte(nextClose))
	if !ok || bytes.ContainsAny(text, `"\`) || len(text) > maxPeerID {
		return false
	}
	next, err := cid.Decode(string(text))
	if err != nil {
		return false
	}
	e.Links = []cid.Cid{next}
	return true
}

// EncodeChunk returns a chunk of entries in canonical dag-json, and its CID. next is
// cid.Undef in the last one.
func EncodeChunk(mhs ipni.Multihashes, next cid.Cid) (cid.Cid, []byte, error) {
	block := make([]byte, 0, 2*len(mhs)+len(chunkOpen)+len(nextOpen)+128)
	block = append(block, chunkOpen...)
	var e Entries
	for mh, err := range mhs.All() {
		switch {
		case err != nil:
			return cid.Undef, nil, fmt.Errorf("ad: encode chunk: %w", err)
		case e.Count == MaxEntries || len(mh) > MaxMultihash:
			return cid.Undef, nil, refuse("encode chunk", fmt.Errorf("more than %d multihashes, or one of more than %d bytes", MaxEntries, MaxMultihash))
		case e.Count > 0:
			block = append(block, ',')
		}
		e.Count++
		block = append(block, entryOpen...)
		block = base64.RawStdEncoding.AppendEncode(block, mh)
		block = append(block, entryClose...)
	}
	block = append(block, ']')
	if next.Defined() {
		block = append(append(append(block, nextOpen...), next.String()...), `"}`...)
		e.Links = []cid.Cid{next}
	}
	block = append(block, '}')
	if err := e.checkChunk(); err != nil {
		return cid.Undef, nil, refuse("encode chunk", err)
	}
	if len(block) > ipni.MaxBlock {
		return cid.Undef, nil, refuse("encode chunk", fmt.Errorf("%d bytes, at most %d are allowed", len(block), ipni.MaxBlock))
	}
	c, err := blockCID(block)
	return c, block, err
}
