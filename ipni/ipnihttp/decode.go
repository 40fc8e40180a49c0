package ipnihttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// maxAddrs bounds the addresses of a provider that are read.
const maxAddrs = 1024

// document is an answer in JSON, whose results are decoded one by one.
type document struct {
	MultihashResults []struct {
		Multihash       multihash.Multihash
		ProviderResults []json.RawMessage
	}
	EncryptedMultihashResults []struct {
		Multihash          multihash.Multihash
		EncryptedValueKeys []json.RawMessage
	}
}

// decodeResult reads one provider. Addresses that this build does not understand are left
// out: others may be of use.
func decodeResult(line []byte) (ipni.Result, error) {
	var raw struct {
		ContextID, Metadata []byte
		Provider            *struct {
			ID    string
			Addrs []string
		}
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return ipni.Result{}, malformed{err}
	}
	if raw.Provider == nil {
		return ipni.Result{}, malformed{errors.New("a result without a provider")}
	}
	if len(raw.ContextID) > dhash.MaxContext || len(raw.Metadata) > dhash.MaxMetadata || len(raw.Provider.Addrs) > maxAddrs {
		return ipni.Result{}, malformed{fmt.Errorf("a context id of %d bytes, metadata of %d, %d addresses", len(raw.ContextID), len(raw.Metadata), len(raw.Provider.Addrs))}
	}
	id, err := peer.Decode(raw.Provider.ID)
	if err != nil {
		return ipni.Result{}, malformed{err}
	}
	r := ipni.Result{Provider: peer.AddrInfo{ID: id}, ContextID: raw.ContextID, Metadata: raw.Metadata}
	for _, text := range raw.Provider.Addrs {
		if a, err := multiaddr.NewMultiaddr(text); err == nil {
			r.Provider.Addrs = append(r.Provider.Addrs, a)
		}
	}
	return r, nil
}

// errShort is a value that opens for nobody. Dhstore takes such ones, and they hide none of the others.
var errShort = errors.New("an encrypted value key that is too short")

// decodeValueKey reads an encrypted value key: a line, or an element of a list.
func decodeValueKey(line []byte) ([]byte, error) {
	const before, after = `{"EncryptedValueKey":"`, `"}`
	var key []byte
	var err error
	if text, ok := bytes.CutPrefix(line, []byte(before)); ok && bytes.HasSuffix(text, []byte(after)) &&
		!bytes.ContainsAny(text, "\r\n") { // base64 would skip them, which JSON forbids
		key, err = base64.StdEncoding.AppendDecode(nil, text[:len(text)-len(after)])
	}
	if key == nil || err != nil {
		if key, err = decodeAny(line); err != nil {
			return nil, malformed{err}
		}
	}
	if key == nil {
		return nil, malformed{errors.New("a result without an encrypted value key")}
	}
	if len(key) < dhash.Overhead {
		return nil, errShort
	}
	if len(key) > valuestore.MaxValue {
		return nil, malformed{fmt.Errorf("an encrypted value key of %d bytes", len(key))}
	}
	return key, nil
}

func decodeAny(line []byte) (key []byte, err error) {
	if bytes.HasPrefix(line, []byte{'"'}) {
		err = json.Unmarshal(line, &key)
		return key, err
	}
	var doc struct{ EncryptedValueKey *[]byte }
	if err = json.Unmarshal(line, &doc); err != nil || doc.EncryptedValueKey == nil {
		return nil, err
	}
	return *doc.EncryptedValueKey, nil
}
