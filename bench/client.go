package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// carAccept asks for what the files hold: depth first, no duplicates.
const carAccept = "application/vnd.ipld.car;version=1;order=dfs;dups=n"

// receiver reads answers of which only the size matters.
type receiver struct {
	buf    []byte
	copies bool // read into memory, instead of having the kernel discard what came
}

// get requests path on a connection of its own and reads the answer to its end. It
// costs the same for every server, and little. A chunked body counts its
// framing; that it is whole is seen by its size alone.
func (r *receiver) get(ctx context.Context, addr, path string, want int64) error {
	c, err := dial(ctx, addr, path)
	if err != nil {
		return err
	}
	defer c.Close()
	n, err := c.Read(r.buf)
	if err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	h, err := parseHead(r.buf[:n])
	if err != nil {
		return err
	}
	got := int64(n - h.size)
	for {
		n, err := r.receive(c)
		got += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read the body: %w", err)
		}
	}
	if got < want || got > want && !h.chunked {
		return fmt.Errorf("%d bytes in the body, want %d", got, want)
	}
	return nil
}

// receive takes what has come. With MSG_TRUNC a TCP socket drops it uncopied.
func (r *receiver) receive(c connection) (n int, err error) {
	if r.copies {
		return c.Read(r.buf)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cause error
	err = raw.Read(func(fd uintptr) bool {
		n, _, cause = syscall.Recvfrom(int(fd), r.buf, syscall.MSG_TRUNC)
		return cause != syscall.EAGAIN && cause != syscall.EINTR
	})
	switch {
	case err != nil:
		return 0, err
	case cause != nil:
		return 0, cause
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// connection dies with the context that it was dialed with.
type connection struct {
	*net.TCPConn
	forget func() bool
}

func (c connection) Close() error {
	c.forget()
	return c.TCPConn.Close()
}

// dial connects and sends a GET.
func dial(ctx context.Context, addr, path string) (connection, error) {
	d, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return connection{}, err
	}
	c := connection{TCPConn: d.(*net.TCPConn)}
	c.forget = context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nConnection: close\r\n\r\n", path, addr, carAccept)
	if err != nil {
		c.Close()
		return connection{}, err
	}
	return c, nil
}

type head struct {
	size    int
	chunked bool
}

// parseHead reads an answer's header, which loopback delivers in one piece.
func parseHead(b []byte) (head, error) {
	text, _, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return head{}, errors.New("the header came in pieces")
	}
	if !bytes.HasPrefix(text, []byte("HTTP/1.1 200 ")) {
		line, _, _ := bytes.Cut(text, []byte("\r\n"))
		return head{}, fmt.Errorf("answer %q", line)
	}
	chunked := strings.Contains(strings.ToLower(string(text)), "\r\ntransfer-encoding: chunked")
	return head{size: len(text) + 4, chunked: chunked}, nil
}

// newClient returns a client with connections of its own.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableCompression: true, ReadBufferSize: 256 * kib, MaxIdleConnsPerHost: 1}}
}

// request sends one request and returns the size of the body, which it discards or
// writes to w.
func request(ctx context.Context, c *http.Client, method, url string, w io.Writer) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", carAccept)
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.CopyBuffer(w, struct{ io.Reader }{resp.Body}, make([]byte, 256*kib))
}

// bodySum returns the sha2-256 of a body.
func bodySum(ctx context.Context, addr, path string) (string, error) {
	c := newClient()
	defer c.CloseIdleConnections()
	h := sha256.New()
	if _, err := request(ctx, c, http.MethodGet, "http://"+addr+path, h); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readSlowly reads path on n connections at 1 MiB/s each for a time, and returns
// the bytes read. The answer must be long enough for that.
func readSlowly(ctx context.Context, addr, path string, n int, long time.Duration) (int64, error) {
	var wg sync.WaitGroup
	total, errs := make([]int64, n), make([]error, n)
	for i := range n {
		wg.Go(func() { total[i], errs[i] = readOneSlowly(ctx, addr, path, long) })
	}
	wg.Wait()
	var sum int64
	for _, t := range total {
		sum += t
	}
	return sum, errors.Join(errs...)
}

func readOneSlowly(ctx context.Context, addr, path string, long time.Duration) (int64, error) {
	const step = 64 * kib
	c, err := dial(ctx, addr, path)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	buf, total := make([]byte, step), int64(0)
	tick := time.NewTicker(time.Second * step / mib)
	defer tick.Stop()
	for end := time.Now().Add(long); time.Now().Before(end); <-tick.C {
		n, err := io.ReadFull(c, buf)
		total += int64(n)
		if total == int64(n) { // the first bytes tell the status
			if _, err := parseHead(buf[:n]); err != nil {
				return total, err
			}
		}
		if err != nil {
			return total, fmt.Errorf("after %d bytes: %w", total, err)
		}
	}
	return total, nil
}
