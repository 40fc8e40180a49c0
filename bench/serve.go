package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
)

// startSystem starts the server of one column for one dataset. The files of nginx are
// those below root.
func (b *bench) startSystem(ctx context.Context, system string, d *dataset, root string) (*server, error) {
	switch system {
	case sysHashstream:
		return b.startHashstream(ctx, d.home)
	case sysNginx:
		return b.startNginx(ctx, root)
	case sysBoxo:
		return b.startBoxo(ctx, d.car())
	case sysHandler:
		return startServer(ctx, nil, b.self, "handler-serve", root)
	case sysCeiling:
		return startServer(ctx, nil, b.self, "sendfile-serve", d.car())
	}
	return nil, fmt.Errorf("no server for %s", system)
}

// sendfileServe is a child that answers every request with one file, by sendfile,
// and does nothing else: what it reaches is what the client can take.
func sendfileServe(args []string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			sendWhole(c, args[0])
		}()
	}
}

func sendWhole(c net.Conn, path string) error {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", fi.Size()); err != nil {
		return err
	}
	_, err = io.Copy(c, f)
	return err
}

// handlerServe is a child that answers with the small files below a folder, which it
// keeps open: the least that a handler of net/http can do.
func handlerServe(args []string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	var files sync.Map // of *os.File
	pool := sync.Pool{New: func() any { b := make([]byte, mib); return &b }}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files.Load(r.URL.Path)
		if !ok {
			opened, err := os.Open(filepath.Join(args[0], filepath.FromSlash(path.Clean(r.URL.Path))))
			if err != nil {
				http.Error(w, "absent", http.StatusNotFound)
				return
			}
			f, _ = files.LoadOrStore(r.URL.Path, opened)
		}
		buf := pool.Get().(*[]byte)
		defer pool.Put(buf)
		n, _ := f.(*os.File).ReadAt(*buf, 0)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(n))
		w.Write((*buf)[:n]) // a client that has gone is nobody's fault
	}))
}
