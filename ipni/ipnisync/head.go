package ipnisync

import (
	"bytes"
	"fmt"

	"github.com/ipfs/go-cid"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipni/go-libipni/dagsync/ipnisync/head"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
)

const maxHead = 8 << 10 // bytes of a signed head, keys of RSA included

// verifyHead returns what a signed head names, if the publisher signed it and it is of
// topic or of none.
func verifyHead(data []byte, publisher peer.ID, topic string) (_ cid.Cid, err error) {
	defer func() {
		if p := recover(); p != nil { // the library, about hostile input
			err = fmt.Errorf("%w: %v", digest.ErrMismatch, p)
		}
	}()
	signed, err := head.Decode(bytes.NewReader(data))
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: %w", digest.ErrMismatch, err)
	}
	signer, err := signed.Validate()
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: %w", digest.ErrMismatch, err)
	}
	if signer != publisher {
		return cid.Undef, fmt.Errorf("%w: signed by %s", digest.ErrMismatch, signer)
	}
	if topic != "" && signed.Topic != nil && *signed.Topic != "" && *signed.Topic != topic {
		return cid.Undef, fmt.Errorf("%w: of topic %.64q, want %q", digest.ErrMismatch, *signed.Topic, topic)
	}
	link, ok := signed.Head.(cidlink.Link)
	if !ok || !link.Defined() {
		return cid.Undef, fmt.Errorf("%w: without a CID", digest.ErrMismatch)
	}
	if err := ipni.CheckCID(link.Cid); err != nil {
		return cid.Undef, fmt.Errorf("%w: %w", digest.ErrMismatch, err)
	}
	return link.Cid, nil
}

// signHead returns a signed head in dag-json.
func signHead(c cid.Cid, topic string, key crypto.PrivKey) ([]byte, error) {
	signed, err := head.NewSignedHead(c, topic, key)
	if err != nil {
		return nil, err
	}
	return signed.Encode()
}
