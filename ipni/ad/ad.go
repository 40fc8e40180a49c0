// Package ad reads and writes what publishers tell a provider index:
// advertisements, the chunks and HAMT nodes that list their multihashes, the
// announcement of a new one, and the metadata that says how to retrieve.
//
// The formats are those of [IPNI], with go-libipni as the standard where the text is
// silent; docs/formats/advertisement.md has them with the limits. Signatures are
// verified where bytes become values, so that a value of this package was said by who
// it names as its signer. The signer of an extended provider must be that provider.
//
// # Errors
//
// Whatever is refused matches [digest.ErrMismatch]: bytes that do not hash to their
// CID, malformed or unsigned ones, and a limit exceeded. Asking again for the same
// bytes does not help.
//
// Functions are pure and safe for concurrent use. No input makes them panic.
//
// [IPNI]: https://github.com/ipni/specs/blob/main/IPNI.md
package ad

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipni/go-libipni/ingest/schema"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// Limits of an advertisement. Those of context id and metadata are the schema's.
const (
	MaxAd        = 1 << 20           // bytes of an encoded advertisement
	MaxContextID = dhash.MaxContext  // bytes
	MaxMetadata  = dhash.MaxMetadata // bytes, of an advertisement and of each extended provider
	MaxAddrs     = 128               // addresses of a provider, or of an announcement
	MaxAddr      = 1024              // bytes of an address, as text
	MaxExtended  = 128               // extended providers
	maxPeerID    = 256               // bytes of a peer id, as text
)

// The codecs of blocks of a chain.
const (
	dagCBOR = cid.DagCBOR
	dagJSON = cid.DagJSON
)

// noEntries is what advertisements without entries link to: the CIDv1, raw, of the
// sha2-256 of nothing, truncated to 16 bytes.
var noEntries = cid.MustParse("bafkreehdwdcefgh4dqkjv67uzcmw7oje")

// NoEntries returns the CID that stands for no entries on the wire. In an [Ad] they are
// cid.Undef.
func NoEntries() cid.Cid { return noEntries }

// Ad is a verified advertisement.
type Ad struct {
	CID      cid.Cid
	Previous cid.Cid // the advertisement before it, cid.Undef for the first
	Provider peer.ID
	Addrs    []multiaddr.Multiaddr // of the provider
	BadAddrs []string              // addresses that could not be parsed

	// Entries is the first chunk, or the root of a HAMT, of the multihashes;
	// cid.Undef if there are none: metadata or addresses are all that it changes.
	Entries   cid.Cid
	ContextID []byte
	Metadata  []byte // see [Protocols]
	Remove    bool   // of the context; metadata and entries mean nothing

	Extended *Extended // further providers, nil if it says nothing about them
	// Signer made the signature of the advertisement. Whether it may speak for Provider,
	// if it is another, is for the caller to judge.
	Signer peer.ID
}

// Extended is further providers of what is advertised: of a context, or of the whole
// chain if the context id is empty.
type Extended struct {
	Providers []ExtendedProvider
	Override  bool // do not add the chain's to those of the context
}

// ExtendedProvider is a provider that agreed, by its own signature, to be one.
type ExtendedProvider struct {
	ID       peer.ID
	Addrs    []multiaddr.Multiaddr
	BadAddrs []string // addresses that could not be parsed
	Metadata []byte   // empty: that of the advertisement
}

// Decode checks an advertisement and returns it: the bytes against c, the limits, the
// signature (of the current form and of the one before), and for each extended
// provider that the envelope holds for this advertisement and was sealed by that
// provider. The codec is dag-json or dag-cbor, as c says.
func Decode(c cid.Cid, data []byte) (_ *Ad, err error) {
	defer catch(&err, "decode", c)
	if err := check(c, data, MaxAd); err != nil {
		return nil, err
	}
	if err := checkTexts(data, maxAdText, c); err != nil {
		return nil, err
	}
	raw, err := schema.BytesToAdvertisement(c, data)
	if err != nil {
		return nil, err
	}
	if err := checkLimits(&raw); err != nil {
		return nil, err
	}
	signer, err := verify(&raw)
	if err != nil {
		return nil, err
	}
	ad, err := convert(&raw)
	if err != nil {
		return nil, err
	}
	ad.CID, ad.Signer = c, signer
	return ad, nil
}

// check wants data to be what c names, in a codec of chains.
func check(c cid.Cid, data []byte, limit int) error {
	if len(data) > limit {
		return fmt.Errorf("%d bytes, at most %d are allowed", len(data), limit)
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return err
	}
	if codec := c.Type(); codec != dagJSON && codec != dagCBOR {
		return fmt.Errorf("codec 0x%x, want dag-json or dag-cbor", codec)
	}
	return d.Verify(data)
}

// catch makes one error of what was refused: hostile input makes libraries panic, too.
func catch(err *error, verb string, c cid.Cid) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v", p)
	}
	if *err != nil {
		*err = refuse(fmt.Sprintf("%s %s", verb, c), *err)
	}
}

// refuse names what was refused, and makes the error match digest.ErrMismatch.
func refuse(what string, err error) error {
	if errors.Is(err, digest.ErrMismatch) {
		return fmt.Errorf("ad: %s: %w", what, err)
	}
	return fmt.Errorf("ad: %s: %w: %w", what, digest.ErrMismatch, err)
}

// checkLimits refuses what is too large, or contradicts itself.
func checkLimits(raw *schema.Advertisement) error {
	if len(raw.ContextID) > MaxContextID {
		return fmt.Errorf("context id of %d bytes, at most %d are allowed", len(raw.ContextID), MaxContextID)
	}
	if err := checkProvider(raw.Provider, raw.Addresses, raw.Metadata); err != nil {
		return err
	}
	x := raw.ExtendedProvider
	switch {
	case x == nil:
		return nil
	case raw.IsRm:
		return errors.New("a removal cannot have extended providers")
	case x.Override && len(raw.ContextID) == 0:
		return errors.New("extended providers override without a context id")
	case len(x.Providers) > MaxExtended:
		return fmt.Errorf("%d extended providers, at most %d are allowed", len(x.Providers), MaxExtended)
	}
	for _, p := range x.Providers {
		if err := checkProvider(p.ID, p.Addresses, p.Metadata); err != nil {
			return fmt.Errorf("extended provider %.64q: %w", p.ID, err)
		}
	}
	return nil
}

func checkProvider(id string, addrs []string, metadata []byte) error {
	switch {
	case len(id) > maxPeerID:
		return fmt.Errorf("peer id of %d bytes, at most %d are allowed", len(id), maxPeerID)
	case len(metadata) > MaxMetadata:
		return fmt.Errorf("metadata of %d bytes, at most %d are allowed", len(metadata), MaxMetadata)
	case len(addrs) > MaxAddrs:
		return fmt.Errorf("%d addresses, at most %d are allowed", len(addrs), MaxAddrs)
	}
	if i := slices.IndexFunc(addrs, func(a string) bool { return len(a) > MaxAddr }); i >= 0 {
		return fmt.Errorf("address of %d bytes, at most %d are allowed", len(addrs[i]), MaxAddr)
	}
	return nil
}

// convert makes values of texts and links.
func convert(raw *schema.Advertisement) (*Ad, error) {
	id, err := peer.Decode(raw.Provider)
	if err != nil {
		return nil, fmt.Errorf("provider %q: %w", raw.Provider, err)
	}
	ad := &Ad{
		Provider: id, Previous: linked(raw.PreviousID), Entries: linked(raw.Entries),
		ContextID: raw.ContextID, Metadata: raw.Metadata, Remove: raw.IsRm,
	}
	for _, c := range []cid.Cid{ad.Previous, ad.Entries} {
		if err := ipni.CheckCID(c); err != nil {
			return nil, err
		}
	}
	if ad.Entries.Equals(noEntries) {
		ad.Entries = cid.Undef
	}
	ad.Addrs, ad.BadAddrs = parseAddrs(raw.Addresses)
	if raw.ExtendedProvider == nil {
		return ad, nil
	}
	ad.Extended = &Extended{Override: raw.ExtendedProvider.Override}
	for _, p := range raw.ExtendedProvider.Providers {
		id, err := peer.Decode(p.ID)
		if err != nil {
			return nil, fmt.Errorf("extended provider %q: %w", p.ID, err)
		}
		x := ExtendedProvider{ID: id, Metadata: p.Metadata}
		x.Addrs, x.BadAddrs = parseAddrs(p.Addresses)
		ad.Extended.Providers = append(ad.Extended.Providers, x)
	}
	return ad, nil
}

// linked returns what a link points to, cid.Undef if there is none.
func linked(l datamodel.Link) cid.Cid {
	if l, ok := l.(cidlink.Link); ok {
		return l.Cid
	}
	return cid.Undef
}

// parseAddrs parses addresses. A bad one says nothing against the others.
func parseAddrs(texts []string) (addrs []multiaddr.Multiaddr, bad []string) {
	for _, text := range texts {
		if a, err := multiaddr.NewMultiaddr(text); err == nil {
			addrs = append(addrs, a)
		} else {
			bad = append(bad, text)
		}
	}
	return addrs, bad
}
