//go:build race

package clustertest

// largeDirectory is fewer with the race detector, which makes it take far longer.
const largeDirectory = 5_000
