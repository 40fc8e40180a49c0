// Package fetch is a verifying client of trustless gateways
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/). It asks one or
// more gateways, in order, for content by its hash, and hands on only bytes that
// it has hashed itself: no gateway has to be trusted.
//
// A [Client] fetches single blocks. A [Session] fetches a DAG: it asks for one
// CAR stream of the whole selection and takes from it the blocks that a
// traversal demands. What the stream lacks, because it was cut, corrupt, in
// another order or without repeats, comes block by block from whichever gateway
// has it. Both are a [block.Source]. [Client.Blob] fetches any part of a BLAKE3
// blob of any size with its proof.
//
// # Errors
//
// Content that every gateway says it has not matches [io/fs.ErrNotExist]. Bytes
// that do not hash to their digest match [digest.ErrMismatch] when no other
// gateway had the right ones. A DAG of which only a part could be had matches
// [ErrIncomplete], and not fs.ErrNotExist. Errors name the gateway, without its
// credentials, and carry a [StatusError] where it answered with a status.
//
// # Limits
//
// A block is at most [block.MaxSize] bytes. A session buffers at most twice
// [Options].Buffer. Silence, slow blocks, header size, redirects and blocks that
// nobody asked for are bounded too.
//
// A Client is safe for concurrent use. A Session is too, but blocks that are
// demanded in another order than depth-first cost a request each.
package fetch
