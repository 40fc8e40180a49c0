//go:build !linux

package control

import "net"

// trusted relies on the socket's mode where the kernel is not asked.
func trusted(*net.UnixConn) bool { return true }
