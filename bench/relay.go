package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// relay is a child that answers every request with some objects, one after another, which it
// asks another server for. It verifies nothing: what it reaches is the most that a node in
// the middle can, as long as it moves the bytes through its memory.
type relay struct {
	*server
	size int64
}

// relayVariable has the URLs, which are signed: no list of processes is to show them.
const relayVariable = "BENCH_RELAY"

func (c *bucketCase) startRelay(ctx context.Context, b *bench) (*relay, error) {
	var urls []string
	var size int64
	for _, o := range c.objects {
		urls, size = append(urls, o.url), size+o.size
	}
	list, err := json.Marshal(urls)
	if err != nil {
		return nil, err
	}
	s, err := startServer(ctx, []string{relayVariable + "=" + string(list)}, b.self, "relay-serve", fmt.Sprint(size))
	return &relay{s, size}, err
}

func (r *relay) get(ctx context.Context, c *receiver) (int64, error) {
	return r.size, c.get(ctx, r.addr, "/", r.size)
}

func relayServe(args []string) error {
	var urls []string
	if err := decodeJSON(os.Getenv(relayVariable), &urls); err != nil {
		return errors.New("no list of URLs")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, ReadBufferSize: 256 * kib}}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %s\r\nConnection: close\r\n\r\n", args[0])
			buf := make([]byte, mib)
			for _, u := range urls {
				if relayOne(client, c, u, buf) != nil {
					return // the asker sees that bytes are missing
				}
			}
		}()
	}
}

func relayOne(client *http.Client, w io.Writer, url string, buf []byte) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{resp.Body}, buf)
	return err
}
