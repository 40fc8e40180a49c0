package store

import (
	"encoding/binary"
	"fmt"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

// The first byte of all keys, so that the rows can share a store with others, and the
// second ones. docs/formats/ipni.md gives the grammar.
const (
	keySpace   = 'S'
	kindFormat = 'f'
	kindTags   = 'n'
	kindGroup  = 'g'
	kindTag    = 't'
	kindMeta   = 'm'
)

const (
	version     = 1
	removing    = 'r' // the value of a group row whose tag is not to be used again; else empty
	modeSealed  = 's'
	modeCompact = 'c'

	providerSize = len(ipni.ProviderTag{})
	groupSize    = providerSize + dhash.KeySize + 8
	tagSize      = 5
)

func formatKey() []byte { return []byte{keySpace, kindFormat} }

// checkFormat returns the row that tells version and mode, or why old is not to be
// opened in the mode.
func checkFormat(old []byte, compact bool) ([]byte, error) {
	mode, other := byte(modeSealed), "compact"
	if compact {
		mode, other = modeCompact, "sealed"
	}
	want := []byte{version, mode}
	switch {
	case old == nil || string(old) == string(want):
		return want, nil
	case len(old) != len(want) || old[0] != version:
		return nil, fmt.Errorf("format %x is not one that this version reads: was it written by a later one? Run that, or begin with empty stores", old)
	case old[1] != modeSealed && old[1] != modeCompact:
		return nil, fmt.Errorf("%w: mode %q", digest.ErrMismatch, old[1])
	}
	return nil, fmt.Errorf("the store was written in %s mode, which cannot be changed: configure that mode, or begin with empty stores and ingest again", other)
}

func counterKey() []byte { return []byte{keySpace, kindTags} }

func metadataKey(key dhash.MetadataKey) []byte {
	return append([]byte{keySpace, kindMeta}, key[:]...)
}

func tagKey(tag valuestore.Tag) []byte {
	return appendTag([]byte{keySpace, kindTag}, tag)
}

func appendTag(b []byte, tag valuestore.Tag) []byte {
	return append(b, byte(tag>>32), byte(tag>>24), byte(tag>>16), byte(tag>>8), byte(tag))
}

// cutTag reads the tag that b, of tagSize bytes, holds.
func cutTag(b []byte) valuestore.Tag {
	return valuestore.Tag(b[0])<<32 | valuestore.Tag(binary.BigEndian.Uint32(b[1:]))
}

func appendGroup(b []byte, g ipni.SealedGroup) []byte {
	b = append(b, g.Provider[:]...)
	b = append(b, g.Context[:]...)
	return binary.BigEndian.AppendUint64(b, g.Epoch)
}

// cutGroup reads the group that b, of groupSize bytes, holds.
func cutGroup(b []byte) ipni.SealedGroup {
	const context = providerSize + dhash.KeySize
	return ipni.SealedGroup{
		Provider: ipni.ProviderTag(b[:providerSize]),
		Context:  dhash.MetadataKey(b[providerSize:context]),
		Epoch:    binary.BigEndian.Uint64(b[context:]),
	}
}

// groupKey is the row that tells that records of g have the tag.
func groupKey(g ipni.SealedGroup, tag valuestore.Tag) []byte {
	return appendTag(appendGroup([]byte{keySpace, kindGroup}, g), tag)
}

// groupRows is the range of the rows of a group.
func groupRows(g ipni.SealedGroup) kv.Range {
	return kv.Prefix(appendGroup([]byte{keySpace, kindGroup}, g))
}

// tagged is a group with one of its tags.
type tagged struct {
	ipni.SealedGroup
	tag valuestore.Tag
}

func parseGroupKey(key []byte) (tagged, error) {
	if len(key) != 2+groupSize+tagSize || key[0] != keySpace || key[1] != kindGroup {
		return tagged{}, fmt.Errorf("group row %x: %w", key, digest.ErrMismatch)
	}
	t := tagged{cutGroup(key[2:]), cutTag(key[2+groupSize:])}
	if t.tag == 0 {
		return tagged{}, fmt.Errorf("group row %x: %w: tag 0", key, digest.ErrMismatch)
	}
	return t, nil
}

// owner is what the records of a tag belong to. The value key is kept in compact mode only.
type owner struct {
	ipni.SealedGroup
	context  ipni.Context
	valueKey []byte
}

// ownerValue is the row of a tag.
func ownerValue(g ipni.SealedGroup, valueKey []byte) []byte {
	return append(appendGroup(nil, g), valueKey...)
}

func parseOwner(b []byte, compact bool) (*owner, error) {
	if len(b) < groupSize || !compact && len(b) != groupSize {
		return nil, fmt.Errorf("row of a tag: %w: %d bytes", digest.ErrMismatch, len(b))
	}
	o := &owner{SealedGroup: cutGroup(b)}
	if !compact {
		return o, nil
	}
	o.valueKey = b[groupSize:]
	id, context, err := dhash.SplitValueKey(o.valueKey)
	if err != nil {
		return nil, fmt.Errorf("row of a tag: %w", err)
	}
	o.context = ipni.Context{Provider: id, ID: string(context)}
	if (ipni.Group{Context: o.context, Epoch: o.Epoch}).Seal() != o.SealedGroup {
		return nil, fmt.Errorf("row of a tag: %w: the value key is that of another group", digest.ErrMismatch)
	}
	return o, nil
}

// parseCounter reads the next tag that was not given out.
func parseCounter(b []byte) (valuestore.Tag, error) {
	if b == nil {
		return 1, nil
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("row of the tags: %w: %d bytes", digest.ErrMismatch, len(b))
	}
	return valuestore.Tag(binary.BigEndian.Uint64(b)), nil
}
