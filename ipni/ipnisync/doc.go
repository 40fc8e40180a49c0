// Package ipnisync reads and serves chains of advertisements over HTTP: both ends of
// [ipni-sync], as go-libipni speaks it.
//
//	GET …/ipni/v1/ad/head     the newest advertisement, signed by the publisher; 204 if there is none
//	GET …/ipni/v1/ad/{cid}    a block, in the codec of its CID
//
// A [Client] is an [ipni.Chain] of a publisher at addresses of HTTP, or over any
// [http.RoundTripper], such as streams of libp2p. It believes no publisher: heads are
// verified against its peer id, blocks against their CIDs, and neither how much nor how
// slowly it sends can hold a caller up beyond the limits of [Options]. Addresses that a
// stranger named are not dialed where they are not public: see [Options].AllowPrivate.
//
// [Handler] serves any [ipni.Chain] to foreign clients, and to a Client.
//
// # Errors
//
// What the publisher says it does not have matches [fs.ErrNotExist]: a block (404 or 410,
// at all its addresses) or any head (204). A head or a block that is not what was asked for matches
// [digest.ErrMismatch]; an address that must not be dialed [ErrPrivate]. An answer of
// another status is a [*StatusError], and anything else was no answer. What may pass is
// tried again before it is returned.
//
// Clients and handlers are safe for concurrent use.
//
// [ipni-sync]: https://github.com/ipni/specs/blob/main/IPNI_HTTP_PROVIDER.md
package ipnisync
