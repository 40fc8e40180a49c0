package gateway

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestWriteMoreStalled: a client that takes nothing is the client's failure, also
// when it is a header that cannot be sent.
func TestWriteMoreStalled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 64<<10)
	for err == nil {
		err = writeMore(c.(*net.TCPConn), header)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || !clientGone(err) {
		t.Errorf("%v: gone %v", err, clientGone(err))
	}
}
