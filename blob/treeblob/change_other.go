//go:build !linux

package treeblob

import "syscall"

// changeTime is unknown: without it no version of a file is believed.
func changeTime(*syscall.Stat_t) int64 { return 1<<63 - 1 }
