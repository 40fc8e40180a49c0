// Package foreigntest holds tests in which programs that others wrote fetch from a
// real Hashstream node, and Hashstream from theirs: boxo's gateway over remote CARs
// and over remote blocks, its bitswap client over HTTP, go-car, go-ipld-prime's
// selectors, and curl. What they deliver is compared with the original files. The
// specifications are https://specs.ipfs.tech/http-gateways/trustless-gateway/ and
// https://ipld.io/specs/transport/car/.
//
// # Errors
//
// The package has no code besides its tests.
package foreigntest
