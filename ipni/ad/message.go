package ad

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/announce/message"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
)

// Limits of an announcement, besides [MaxAddrs] and [MaxAddr].
const (
	MaxMessage = 1 << 20  // bytes of an encoded announcement
	MaxExtra   = 64 << 10 // bytes of its extra data
)

// Message announces that a publisher has a new advertisement. Nobody has signed it: it
// is a hint to ask the publisher, and no more.
type Message struct {
	CID   cid.Cid               // of the advertisement
	Addrs []multiaddr.Multiaddr // of the publisher, with its peer id (/p2p/…) when it comes over HTTP
	Extra []byte                // for certain recipients, usually nothing
	// OrigPeer is the publisher's peer id, as text, in what an indexer passes on; empty in
	// what comes from the publisher itself.
	OrigPeer string
}

// DecodeMessage reads an announcement: a CBOR array of 3 items, or of 4 with the
// original peer. Addresses that cannot be parsed are left out.
func DecodeMessage(data []byte) (m Message, err error) {
	defer catchMessage(&err)
	if len(data) > MaxMessage {
		return Message{}, fmt.Errorf("%d bytes, at most %d are allowed", len(data), MaxMessage)
	}
	var raw message.Message
	r := bytes.NewReader(data)
	if err := raw.UnmarshalCBOR(r); err != nil {
		return Message{}, err
	}
	if r.Len() > 0 {
		return Message{}, fmt.Errorf("%d bytes follow the message", r.Len())
	}
	return convertMessage(raw)
}

// DecodeMessageJSON reads the JSON form of an announcement: an object with Cid (a link
// of dag-json), Addrs and ExtraData (bytes in base 64) and OrigPeer.
func DecodeMessageJSON(data []byte) (m Message, err error) {
	defer catchMessage(&err)
	if len(data) > MaxMessage {
		return Message{}, fmt.Errorf("%d bytes, at most %d are allowed", len(data), MaxMessage)
	}
	var raw struct {
		CID       shortCID `json:"Cid"`
		Addrs     [][]byte
		ExtraData []byte
		OrigPeer  string
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return Message{}, err
	}
	return convertMessage(message.Message{Cid: raw.CID.Cid, Addrs: raw.Addrs, ExtraData: raw.ExtraData, OrigPeer: raw.OrigPeer})
}

// shortCID is a CID in JSON, whose text is bounded before it is decoded. The same name
// may come more than once.
type shortCID struct{ cid.Cid }

// UnmarshalJSON reads a link of dag-json.
func (c *shortCID) UnmarshalJSON(data []byte) error {
	if len(data) > maxEntriesText {
		return fmt.Errorf("CID of %d bytes", len(data))
	}
	return c.Cid.UnmarshalJSON(data)
}

func catchMessage(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v", p)
	}
	if *err != nil {
		*err = refuse("decode announcement", *err)
	}
}

func convertMessage(raw message.Message) (Message, error) {
	m := Message{CID: raw.Cid, Extra: raw.ExtraData, OrigPeer: raw.OrigPeer}
	for _, b := range raw.Addrs {
		if a, err := multiaddr.NewMultiaddrBytes(b); err == nil {
			m.Addrs = append(m.Addrs, a)
		}
	}
	if len(raw.Addrs) > MaxAddrs { // those that were left out count
		return Message{}, tooManyAddrs(len(raw.Addrs))
	}
	return m, m.check()
}

func tooManyAddrs(n int) error {
	return fmt.Errorf("%d addresses, at most %d are allowed", n, MaxAddrs)
}

// check holds a message to its limits.
func (m Message) check() error {
	switch {
	case !m.CID.Defined():
		return errors.New("no CID")
	case len(m.Addrs) > MaxAddrs:
		return tooManyAddrs(len(m.Addrs))
	case len(m.Extra) > MaxExtra:
		return fmt.Errorf("%d bytes of extra data, at most %d are allowed", len(m.Extra), MaxExtra)
	case len(m.OrigPeer) > maxPeerID:
		return fmt.Errorf("peer id of %d bytes, at most %d are allowed", len(m.OrigPeer), maxPeerID)
	}
	for _, a := range m.Addrs {
		if n := len(a.Bytes()); n > MaxAddr {
			return fmt.Errorf("address of %d bytes, at most %d are allowed", n, MaxAddr)
		}
	}
	return ipni.CheckCID(m.CID)
}

// raw returns the form that is encoded.
func (m Message) raw() (*message.Message, error) {
	if err := m.check(); err != nil {
		return nil, refuse("encode announcement", err)
	}
	raw := &message.Message{Cid: m.CID, ExtraData: m.Extra, OrigPeer: m.OrigPeer}
	raw.SetAddrs(m.Addrs)
	return raw, nil
}

// EncodeMessage returns the CBOR of m.
func EncodeMessage(m Message) ([]byte, error) {
	raw, err := m.raw()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := raw.MarshalCBOR(&b); err != nil {
		return nil, fmt.Errorf("ad: encode announcement: %w", err)
	}
	return b.Bytes(), nil
}

// EncodeMessageJSON returns the JSON of m.
func EncodeMessageJSON(m Message) ([]byte, error) {
	raw, err := m.raw()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(raw)
	if err != nil {
		return nil, fmt.Errorf("ad: encode announcement: %w", err)
	}
	return b, nil
}

// Publisher returns whom the addresses of m name, which must be one peer. This is how
// a message over HTTP says who publishes.
func (m Message) Publisher() (peer.AddrInfo, error) {
	infos, err := peer.AddrInfosFromP2pAddrs(m.Addrs...)
	if err != nil {
		return peer.AddrInfo{}, refuse("publisher of announcement", err)
	}
	if len(infos) != 1 {
		return peer.AddrInfo{}, refuse("publisher of announcement", fmt.Errorf("%d peers in its addresses, want one", len(infos)))
	}
	return infos[0], nil
}
