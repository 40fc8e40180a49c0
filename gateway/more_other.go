//go:build !linux

package gateway

import "net"

// writeMore writes b. Elsewhere than on Linux it cannot wait for what comes next.
func writeMore(c *net.TCPConn, b []byte) error {
	_, err := c.Write(b)
	return err
}
