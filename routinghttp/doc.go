// Package routinghttp serves and asks a router of content over HTTP, as [Delegated Routing V1] has it:
//
//	GET|HEAD /routing/v1/providers/{cid}  who provides a CID, with ?filter-addrs= and ?filter-protocols=
//
// docs/api/routing.md in the repository tells formats and statuses. A [Handler] answers for an
// [ipni.Finder]: in JSON, at most 100 peers, or in NDJSON, all of them, line by line as they are found.
// What the finder tells of one peer in several results stands in one record. A [Client] is an
// ipni.Finder that asks any server of the protocol.
//
// # Errors
//
// That nobody provides a CID is an empty answer with status 200, and only ever because the
// finder said so: if it failed the answer is 502 or 504, which nobody may keep. What fails after
// the first line ends the connection, so that a cut answer never looks whole. Records that end with
// [ipni.ErrIncomplete] are an answer that nobody may keep; if caches were told that they may, it is cut.
//
// A client takes 404 for an empty answer. Malformed answers match [digest.ErrMismatch]; what a
// server refuses is an [Error], which matches [io/fs.ErrInvalid] if it is the question that
// is at fault, and [context.DeadlineExceeded] if the server had too little time.
//
// Handlers and clients are safe for concurrent use. A handler's goroutines end before its answer.
//
// [Delegated Routing V1]: https://specs.ipfs.tech/routing/http-routing-v1/
package routinghttp
