package ad

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/datamodel"
	basicnode "github.com/ipld/go-ipld-prime/node/basic"

	"github.com/hashstream/hashstream/ipni"
)

const (
	// hamtDepth is how deep the values of a node of a HAMT nest: root, node, elements,
	// element, bucket, entry, key, and one to spare.
	hamtDepth = 8
	// hamtValues bounds the values of a block, and so the memory of its tree. A HAMT node of
	// the largest size, filled with multihashes of 34 bytes, has half as many.
	hamtValues = 1 << 19
)

// decodeHAMT reads the root or an inner node of a HAMT, and reports whether the block
// looks like one.
func decodeHAMT(c cid.Cid, data []byte) (Entries, bool, error) {
	node, err := decodeTree(c, data)
	if err != nil {
		return Entries{}, false, err
	}
	if node.Kind() == datamodel.Kind_Map {
		if node, err = node.LookupByString("hamt"); err != nil {
			return Entries{}, false, err
		}
	} else if node.Kind() != datamodel.Kind_List {
		return Entries{}, false, errors.New("neither a chunk nor a HAMT")
	}
	var e Entries
	if err := e.addNode(node); err != nil {
		return Entries{}, true, fmt.Errorf("HAMT: %w", err)
	}
	return e, true, nil
}

// decodeTree makes a tree of nodes of a block. Both decoders need more memory than the
// block has bytes, by a factor; how much follows from the number of values.
func decodeTree(c cid.Cid, data []byte) (datamodel.Node, error) {
	build := basicnode.Prototype.Any.NewBuilder()
	if c.Type() == dagCBOR {
		options := dagcbor.DecodeOptions{AllowLinks: true, MaxDepth: hamtDepth, AllocationBudget: hamtValues * 16}
		if err := options.Decode(build, bytes.NewReader(data)); err != nil {
			return nil, err
		}
		return build.Build(), nil
	}
	values := 0
	for _, b := range data {
		if b == ',' || b == '[' || b == '{' {
			values++
		}
	}
	if values > hamtValues {
		return nil, fmt.Errorf("more than %d values", hamtValues)
	}
	options := dagjson.DecodeOptions{ParseLinks: true, ParseBytes: true, MaxDepth: hamtDepth}
	if err := options.Decode(build, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	return build.Build(), nil
}

// part returns an item of a struct, which is a list in the representation of its
// schema, but a map in roots as index-provider writes them.
func part(node datamodel.Node, index int64, name string) (datamodel.Node, error) {
	switch node.Kind() {
	case datamodel.Kind_List:
		if node.Length() != 2 {
			return nil, fmt.Errorf("%d items where a pair should be", node.Length())
		}
		return node.LookupByIndex(index)
	case datamodel.Kind_Map:
		return node.LookupByString(name)
	}
	return nil, fmt.Errorf("a %s where a pair should be", node.Kind())
}

// addNode adds a node: a pair of a bitmap and of its elements.
func (e *Entries) addNode(node datamodel.Node) error {
	elements, err := part(node, 1, "data")
	if err != nil {
		return err
	}
	if elements.Kind() != datamodel.Kind_List {
		return errors.New("the elements of a node are not a list")
	}
	return each(elements, e.addElement)
}

// each calls add for the items of a list.
func each(list datamodel.Node, add func(datamodel.Node) error) error {
	for i := list.ListIterator(); !i.Done(); {
		_, item, err := i.Next()
		if err != nil {
			return err
		}
		if err := add(item); err != nil {
			return err
		}
	}
	return nil
}

// addElement adds the link to a child, or the keys of a bucket. In roots either stands
// in a map, under the name of its type.
func (e *Entries) addElement(element datamodel.Node) error {
	if element.Kind() == datamodel.Kind_Map && element.Length() == 1 {
		_, value, err := element.MapIterator().Next()
		if err != nil {
			return err
		}
		element = value
	}
	switch element.Kind() {
	case datamodel.Kind_Link:
		l, err := element.AsLink()
		if err != nil {
			return err
		}
		child := linked(l)
		e.Links = append(e.Links, child)
		return ipni.CheckCID(child)
	case datamodel.Kind_List:
		return each(element, e.addKey)
	}
	return fmt.Errorf("an element is a %s", element.Kind())
}

// addKey adds the key of an entry of a bucket: a pair of key and value.
func (e *Entries) addKey(entry datamodel.Node) error {
	key, err := part(entry, 0, "key")
	if err != nil {
		return err
	}
	mh, err := key.AsBytes()
	if err != nil {
		return err
	}
	return e.add(mh)
}
