// Package ipnihttp serves and asks a provider index over HTTP, as the [specification]
// and the servers in the field have it:
//
//	GET|HEAD /cid/{cid}, /multihash/{multihash}                      providers of a multihash
//	GET|HEAD /encrypted/cid/{cid}, /encrypted/multihash/{multihash}  encrypted value keys of a second hash
//	GET|HEAD /metadata/{key}                                         encrypted metadata
//	POST     /multihash, /encrypted/multihash                        many at once
//	GET|HEAD /providers, /providers/{peer id}                        what is known of providers
//	GET|HEAD /stats, /health, /ready
//
// docs/api/ipni.md in the repository tells formats and statuses. A [Handler] answers in JSON or,
// line by line as results come, in NDJSON. A [Client] implements [ipni.Finder] and [ipni.SealedReader].
// Sub-packages are the other ends of an index: storehttp takes records, ingesthttp
// announcements; wire is what all have in common.
//
// # Errors
//
// A handler answers 404 if the index said that there is nothing, and never because
// something failed: then it answers 502, 503 or 504, which nobody may keep. What fails after the
// first byte ends the connection, so that a cut answer never looks whole. Results that end with
// [ipni.ErrIncomplete] are an answer that nobody may keep; if caches were told that they may, it is cut.
//
// A client returns absence as [io/fs.ErrNotExist] where a method says so, malformed answers
// as [digest.ErrMismatch], and [wire.Error] for other answers.
//
// Handlers and clients are safe for concurrent use.
//
// [specification]: https://github.com/ipni/specs/blob/main/IPNI_HTTP_PROVIDER.md
package ipnihttp
