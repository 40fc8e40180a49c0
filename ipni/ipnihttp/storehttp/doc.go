// Package storehttp carries the records of a provider index over HTTP, to and from a node that
// sees only ciphertext ([ipni.SealedStore]).
//
// A [Handler] takes what writers in the field send to dhstore, JSON of the form
// {"merges":[{"key":…,"value":…}]}, and frames of records (docs/formats/records.md in the
// repository), which cost a tenth of it and tell which group they belong to:
//
//	PUT|DELETE /multihash, /encrypted/multihash   records, as JSON or frames
//	PUT        /metadata                          encrypted metadata, as JSON or frames
//	DELETE     /metadata/{key}
//	POST       /remove                            the groups of a context or a provider
//	GET        /encrypted/multihash/{multihash}   frames, if they are asked for
//	GET        /partition/{from}-{to}             the records and metadata of a range of keys, as frames
//
// Everything is refused unless [Options].Authorize allows it. What was acknowledged is durable;
// what was not may be stored in part, and can be sent again.
//
// A [Client] is a [cluster.Node] over frames, and an [ipni.SealedStore] over JSON for a foreign
// dhstore.
//
// # Errors
//
// Those of package wire. Malformed frames and answers match [digest.ErrMismatch].
//
// Handlers and clients are safe for concurrent use.
package storehttp
