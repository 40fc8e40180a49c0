//go:build !race

package clustertest

// largeDirectory is how many files a large directory has.
const largeDirectory = 100_000
