package control

import (
	"net"
	"syscall"
)

// trusted asks the kernel who is at the other end.
func trusted(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		ok = err == nil && allowed(cred.Uid)
	})
	return ok && err == nil
}
