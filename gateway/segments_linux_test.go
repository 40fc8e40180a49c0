package gateway_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/gateway"
)

// file is an opener of a block in a file.
type file struct {
	oneBlock
	f *os.File
}

func (o *file) Open(context.Context, block.Selection) (block.Body, error) { return o, nil }

func (o *file) Send(_ context.Context, w io.Writer) (int64, error) {
	return w.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: o.f, N: int64(len(o.data))})
}

// TestHeaderTravelsWithBody counts the segments that an answer comes in. On
// loopback one holds nearly 64 KiB.
func TestHeaderTravelsWithBody(t *testing.T) {
	small, large := bytes.Repeat([]byte("x"), 4096), bytes.Repeat([]byte("x"), 30_000)
	f, err := os.Create(filepath.Join(t.TempDir(), "block"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(large); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		content  block.Opener
		data     []byte
		segments uint32
	}{
		{"small", &oneBlock{data: small}, small, 1},
		{"large", &oneBlock{data: large}, large, 1},
		{"sendfile", &file{oneBlock{data: large}, f}, large, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := digest.Sum(digest.SHA256, tt.data)
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Handler: gateway.New(tt.content, nil), ConnContext: gateway.ConnContext}
			go s.Serve(gateway.Listen(l))
			defer s.Close()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, "GET /ipfs/"+d.String()+"?format=raw HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			if _, body, ok := strings.Cut(string(answer), "\r\n\r\n"); !ok || body != string(tt.data) {
				t.Errorf("got %d bytes of body, want %d", len(body), len(tt.data))
			}
			if n := segments(t, c.(*net.TCPConn)); n != tt.segments {
				t.Errorf("came in %d segments, want %d", n, tt.segments)
			}
		})
	}
}

// segments returns how many segments with data a connection has received.
func segments(t *testing.T, c *net.TCPConn) (n uint32) {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Data_segs_in
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
