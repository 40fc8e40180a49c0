package ad

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipni/go-libipni/ingest/schema"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
)

// What an envelope is sealed for. The bytes below the two kinds of signature are
// alike, so only these keep one from being taken for the other.
const (
	adPayload       = "/indexer/ingest/adSignature"
	extendedPayload = "/indexer/ingest/extendedProviderSignature"
)

// verify checks all signatures of an advertisement and returns its signer.
func verify(raw *schema.Advertisement) (peer.ID, error) {
	signer, err := raw.VerifySignature()
	if err != nil {
		return "", fmt.Errorf("signature: %w", err)
	}
	if _, err := sealer(raw.Signature, adPayload); err != nil {
		return "", fmt.Errorf("signature: %w", err)
	}
	if raw.ExtendedProvider == nil {
		return signer, nil
	}
	for _, p := range raw.ExtendedProvider.Providers {
		if err := verifyExtended(raw, p, signer); err != nil {
			return "", fmt.Errorf("extended provider %q: %w", p.ID, err)
		}
	}
	return signer, nil
}

// verifyExtended wants the envelope of p, which holds for this advertisement, to be
// sealed by p: otherwise anybody could name anybody. The entry of the advertisement's
// own provider may be of who signs for it, as it says nothing beyond that signature.
func verifyExtended(raw *schema.Advertisement, p schema.Provider, signer peer.ID) error {
	id, err := peer.Decode(p.ID)
	if err != nil {
		return err
	}
	by, err := sealer(p.Signature, extendedPayload)
	switch {
	case err != nil:
		return fmt.Errorf("signature: %w", err)
	case by == id, p.ID == raw.Provider && by == signer:
		return nil
	}
	return fmt.Errorf("signed by %s, which is another peer", by)
}

// sealer returns whose envelope it is. Its signature has been verified.
func sealer(envelope []byte, payload string) (peer.ID, error) {
	e, err := record.UnmarshalEnvelope(envelope)
	if err != nil {
		return "", err
	}
	if string(e.PayloadType) != payload {
		return "", fmt.Errorf("made for %.64q, want %q", e.PayloadType, payload)
	}
	return peer.IDFromPublicKey(e.PublicKey)
}

// New encodes and signs an advertisement, and returns its CID and its block of dag-json.
// CID, BadAddrs and Signer of a mean nothing. Each extended provider needs its key among
// extended, and a list of them needs the advertisement's provider in it.
func New(a Ad, key crypto.PrivKey, extended ...crypto.PrivKey) (cid.Cid, []byte, error) {
	c, data, err := encode(a, key, extended)
	if err != nil {
		return cid.Undef, nil, fmt.Errorf("ad: make advertisement: %w", err)
	}
	if _, err := Decode(c, data); err != nil { // limits and rules stand there
		return cid.Undef, nil, fmt.Errorf("ad: make advertisement: %w", err)
	}
	return c, data, nil
}

func encode(a Ad, key crypto.PrivKey, extended []crypto.PrivKey) (cid.Cid, []byte, error) {
	raw := schema.Advertisement{
		Provider: a.Provider.String(), Addresses: texts(a.Addrs), Entries: link(noEntries),
		ContextID: a.ContextID, Metadata: a.Metadata, IsRm: a.Remove,
	}
	if a.Previous.Defined() {
		raw.PreviousID = link(a.Previous)
	}
	if a.Entries.Defined() {
		raw.Entries = link(a.Entries)
	}
	if a.Extended != nil {
		x := &schema.ExtendedProvider{Override: a.Extended.Override}
		for _, p := range a.Extended.Providers {
			x.Providers = append(x.Providers, schema.Provider{ID: p.ID.String(), Addresses: texts(p.Addrs), Metadata: p.Metadata})
		}
		raw.ExtendedProvider = x
	}
	if err := sign(&raw, key, extended); err != nil {
		return cid.Undef, nil, err
	}
	node, err := raw.ToNode()
	if err != nil {
		return cid.Undef, nil, err
	}
	var block bytes.Buffer
	if err := dagjson.Encode(node, &block); err != nil {
		return cid.Undef, nil, err
	}
	c, err := blockCID(block.Bytes())
	return c, block.Bytes(), err
}

// sign makes the signature of each extended provider and of the advertisement.
func sign(raw *schema.Advertisement, key crypto.PrivKey, extended []crypto.PrivKey) error {
	if key == nil {
		return errors.New("no key to sign with")
	}
	x := raw.ExtendedProvider
	if x == nil {
		return raw.Sign(key)
	}
	find := func(id string) (crypto.PrivKey, error) {
		for _, k := range extended {
			if p, err := peer.IDFromPrivateKey(k); err == nil && p.String() == id {
				return k, nil
			}
		}
		return nil, fmt.Errorf("no key of extended provider %s", id)
	}
	own, err := find(raw.Provider)
	if err != nil {
		own = key
	}
	if err := raw.SignWithExtendedProviders(own, find); err != nil {
		return err
	}
	// The provider signed its own entry. The advertisement, whose signature does not cover
	// extended providers, is signed by key.
	raw.ExtendedProvider = nil
	err = raw.Sign(key)
	raw.ExtendedProvider = x
	return err
}

// blockCID names a block of dag-json as chains do.
func blockCID(block []byte) (cid.Cid, error) {
	d, err := digest.Sum(digest.SHA256, block)
	return d.CID(dagJSON), err
}

func link(c cid.Cid) datamodel.Link { return cidlink.Link{Cid: c} }

func texts(addrs []multiaddr.Multiaddr) []string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return texts
}
