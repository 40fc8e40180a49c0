package gateway

import (
	"context"
	"io"
	"net"
	"net/http"
)

// heldBytes is how much is gathered at most: a header and a small block.
const heldBytes = 16<<10 + 4<<10

// Listen returns l with connections that can hold back the beginning of an answer.
// The buffer of [http.Server] is too small for a header and a block of 4 KiB, and
// it sends a header before the file that follows. With this, header and body go
// out together, which costs the server and the client one system call less each.
// [ConnContext] makes it known to a Handler.
func Listen(l net.Listener) net.Listener { return holdingListener{l} }

type holdingListener struct{ net.Listener }

func (l holdingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &holdingConn{TCPConn: tcp}, nil
	}
	return c, err
}

type connKey struct{}

// ConnContext is for [http.Server.ConnContext].
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if h, ok := c.(*holdingConn); ok {
		return context.WithValue(ctx, connKey{}, h)
	}
	return ctx
}

// holdingConn is a TCP connection that gathers writes while it is told to. Only
// the goroutine that answers the connection's one request writes, so it takes no lock.
type holdingConn struct {
	*net.TCPConn
	held  []byte
	holds bool
}

// conn returns the connection of a request if it can hold: HTTP/1 without TLS.
func conn(r *http.Request) *holdingConn {
	if r.ProtoMajor != 1 || r.TLS != nil {
		return nil
	}
	c, _ := r.Context().Value(connKey{}).(*holdingConn)
	return c
}

func (c *holdingConn) hold() { c.holds = true }

// release sends what was held.
func (c *holdingConn) release() error {
	c.holds = false
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.TCPConn.Write(c.held)
	c.held = c.held[:0]
	return err
}

// ReadFrom implements [io.ReaderFrom], by sendfile where the source is a file.
func (c *holdingConn) ReadFrom(src io.Reader) (int64, error) {
	if c.holds = false; len(c.held) > 0 {
		err := writeMore(c.TCPConn, c.held)
		if c.held = c.held[:0]; err != nil {
			return 0, err
		}
	}
	return c.TCPConn.ReadFrom(src)
}

// Write implements [net.Conn].
func (c *holdingConn) Write(b []byte) (int, error) {
	if !c.holds {
		return c.TCPConn.Write(b)
	}
	if len(c.held)+len(b) <= heldBytes {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	c.holds = false
	head := int64(len(c.held))
	both := net.Buffers{c.held, b}
	n, err := both.WriteTo(c.TCPConn)
	c.held = c.held[:0]
	return int(max(n-head, 0)), err
}
