package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// The first bytes of keys. docs/formats/ipni.md gives the grammar.
const (
	keySpace     = 'N'
	kindProvider = 'p'
	kindSet      = 'e'
	version      = 1
)

func providerKey(id peer.ID) []byte {
	return append([]byte{keySpace, kindProvider}, id...)
}

// setKey is the key of the set of a context. A peer id knows its own end, so no other id's
// keys begin with it.
func setKey(id peer.ID, contextID string) []byte {
	return append(append([]byte{keySpace, kindSet}, id...), contextID...)
}

// checkID returns why id is not the id of a peer.
func checkID(id peer.ID) error {
	if len(id) <= maxID {
		if n, _, err := multihash.MHFromBytes([]byte(id)); err == nil && n == len(id) {
			return nil
		}
	}
	return fmt.Errorf("peer id of %d bytes: %w", len(id), fs.ErrInvalid)
}

// providerJSON is a provider as it is stored. Ids and addresses are in their binary form:
// not all of them survive being written as text.
type providerJSON struct {
	Version    int       `json:"version"`
	Addrs      [][]byte  `json:"addrs,omitempty"`
	AddrsOrder uint64    `json:"addrs_order,omitempty"`
	Publisher  *infoJSON `json:"publisher,omitempty"`
	Ad         string    `json:"ad,omitempty"`
	AdOrder    uint64    `json:"ad_order,omitempty"`
	AdTime     time.Time `json:"ad_time,omitzero"`
	Lag        int       `json:"lag,omitempty"`
	Error      string    `json:"error,omitempty"`
	ErrorTime  time.Time `json:"error_time,omitzero"`
	Frozen     string    `json:"frozen,omitempty"`
	FrozenTime time.Time `json:"frozen_time,omitzero"`
	Inactive   bool      `json:"inactive,omitempty"`
}

type infoJSON struct {
	ID       []byte   `json:"id"`
	Addrs    [][]byte `json:"addrs,omitempty"`
	Metadata []byte   `json:"metadata,omitempty"`
}

type setJSON struct {
	Version   int        `json:"version"`
	Order     uint64     `json:"order,omitempty"`
	Override  bool       `json:"override,omitempty"`
	Providers []infoJSON `json:"providers,omitempty"`
}

func encodeProvider(p Provider) ([]byte, error) {
	j := providerJSON{
		Version: version, Addrs: binaries(p.Addrs), AddrsOrder: p.addrsOrder,
		Ad: text(p.LastAdvertisement), AdOrder: p.adOrder, AdTime: utc(p.LastAdvertisementTime), Lag: p.Lag,
		Error: p.LastError, ErrorTime: utc(p.LastErrorTime),
		Frozen: text(p.FrozenAt), FrozenTime: utc(p.FrozenAtTime), Inactive: p.Inactive,
	}
	if p.Publisher.ID != "" {
		j.Publisher = &infoJSON{ID: []byte(p.Publisher.ID), Addrs: binaries(p.Publisher.Addrs)}
	}
	return json.Marshal(j)
}

func decodeProvider(id peer.ID, b []byte) (Provider, error) {
	var j providerJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Provider{}, corrupt(err)
	}
	p := Provider{
		ID: id, addrsOrder: j.AddrsOrder, adOrder: j.AdOrder, LastAdvertisementTime: j.AdTime, Lag: j.Lag,
		LastError: j.Error, LastErrorTime: j.ErrorTime, FrozenAtTime: j.FrozenTime, Inactive: j.Inactive,
	}
	var errs [5]error
	p.Addrs, errs[0] = addresses(j.Addrs)
	p.LastAdvertisement, errs[1] = parseCID(j.Ad)
	p.FrozenAt, errs[2] = parseCID(j.Frozen)
	if j.Publisher != nil {
		p.Publisher, errs[3] = j.Publisher.info()
	}
	if j.Version != version {
		errs[4] = fmt.Errorf("version %d", j.Version)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return Provider{}, corrupt(err)
	}
	return p, same(b, func() ([]byte, error) { return encodeProvider(p) })
}

func encodeSet(s Set) ([]byte, error) {
	j := setJSON{Version: version, Order: s.order, Override: s.Override}
	for _, p := range s.Providers {
		j.Providers = append(j.Providers, infoJSON{[]byte(p.ID), binaries(p.Addrs), p.Metadata})
	}
	return json.Marshal(j)
}

func decodeSet(contextID string, b []byte) (Set, error) {
	var j setJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Set{}, corrupt(err)
	}
	if j.Version != version {
		return Set{}, corrupt(fmt.Errorf("version %d", j.Version))
	}
	s := Set{ContextID: contextID, Override: j.Override, order: j.Order}
	for _, p := range j.Providers {
		info, err := p.info()
		if err != nil {
			return Set{}, corrupt(err)
		}
		s.Providers = append(s.Providers, Extended{info, p.Metadata})
	}
	return s, same(b, func() ([]byte, error) { return encodeSet(s) })
}

// parseProvider reads a row.
func parseProvider(p kv.Pair) (Provider, error) {
	id := peer.ID(p.Key[2:])
	if err := checkID(id); err != nil {
		return Provider{}, corrupt(fmt.Errorf("row %x", p.Key))
	}
	return decodeProvider(id, p.Value)
}

// parseSet reads a row of a provider.
func parseSet(id peer.ID, p kv.Pair) (Set, error) {
	contextID := p.Key[len(setKey(id, "")):]
	if len(contextID) > MaxContext {
		return Set{}, corrupt(fmt.Errorf("row %x", p.Key))
	}
	return decodeSet(string(contextID), p.Value)
}

func corrupt(err error) error { return fmt.Errorf("stored row: %w: %w", digest.ErrMismatch, err) }

// same wants the bytes that a value is encoded to, without fields that are not known or are repeated.
func same(b []byte, encode func() ([]byte, error)) error {
	again, err := encode()
	if err == nil && !bytes.Equal(again, b) {
		err = errors.New("not as it is written")
	}
	if err != nil {
		return corrupt(err)
	}
	return nil
}

func (j *infoJSON) info() (i peer.AddrInfo, err error) {
	i.ID = peer.ID(j.ID)
	i.Addrs, err = addresses(j.Addrs)
	return i, errors.Join(err, checkID(i.ID))
}

func binaries(addrs []multiaddr.Multiaddr) (b [][]byte) {
	for _, a := range addrs {
		b = append(b, a.Bytes())
	}
	return b
}

func addresses(b [][]byte) (addrs []multiaddr.Multiaddr, err error) {
	for _, a := range b {
		m, err := multiaddr.NewMultiaddrBytes(a)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, m)
	}
	return addrs, nil
}

func text(c cid.Cid) string {
	if !c.Defined() {
		return ""
	}
	return c.String()
}

func parseCID(s string) (cid.Cid, error) {
	if s == "" {
		return cid.Undef, nil
	}
	return cid.Decode(s)
}

// utc returns t without what is not stored: a place, and a monotonic reading.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Round(0)
}
