// Package ingesthttp is how publishers and operators talk to the role of an index that reads
// advertisement chains. A [Handler] is for everybody:
//
//	PUT  /announce, /ingest/announce           an advertisement is new (CBOR, or JSON)
//	POST /register                             the addresses of a provider, signed by it
//	GET  /sync/status, /sync/status/{peer id}  how far the chains of publishers are read
//	GET  /sync/status/ad/{cid}                 what became of an advertisement
//	POST /sync/status/ad                       the same of many
//	GET  /health
//
// An [AdminHandler] is for operators, and belongs to a listener that nobody else reaches. An
// [Announcer] sends announcements. Formats are those of storetheindex, docs/api/ipni.md in the
// repository tells them.
//
// # Errors
//
// Those of package wire; a publisher that announces too often gets 429.
//
// Everything is safe for concurrent use.
package ingesthttp
