// Package clustertest holds tests of content that stays where it is and of many nodes on
// one store, with real servers: an S3 server, PostgreSQL and NATS, a proxy that makes
// requests to the bucket fail, and nodes that are processes of their own and are killed.
//
// # Errors
//
// The package has no code besides its tests.
package clustertest
