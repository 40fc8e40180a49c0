package gateway

import (
	"cmp"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// writeMore writes b, and lets the kernel put what is written next into the same
// packet.
func writeMore(c *net.TCPConn, b []byte) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		for len(b) > 0 {
			n, err := unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			switch err {
			case nil:
				b = b[n:]
			case unix.EAGAIN:
				return false
			case unix.EINTR:
			default:
				failed = os.NewSyscallError("sendmsg", err)
				return true
			}
		}
		return true
	})
	if err = cmp.Or(failed, err); err != nil { // raw.Write calls its own errors something else
		return &net.OpError{Op: "write", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
	}
	return nil
}
