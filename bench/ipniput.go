package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// put is what a child does that writes records to a server by JSON, as storetheindex does to
// dhstore: so many in each request.
type put struct {
	url     string
	first   uint64 // number of the first record
	records uint64 // at most
	long    time.Duration
	conns   int
	batch   int
	hot     bool // all under one key
}

// putDone is what it did.
type putDone struct {
	Records      uint64
	Seconds, CPU float64 // CPU of the child, seconds
}

func (p put) args() []string {
	return []string{"merges-put", "-url", p.url, "-first", fmt.Sprint(p.first), "-records", fmt.Sprint(p.records), "-for", p.long.String(),
		"-conns", strconv.Itoa(p.conns), "-batch", strconv.Itoa(p.batch), fmt.Sprintf("-hot=%t", p.hot)}
}

func mergesPut(args []string) error {
	var p put
	flags := flag.NewFlagSet("merges-put", flag.ContinueOnError)
	flags.StringVar(&p.url, "url", "", "of the server")
	flags.Uint64Var(&p.first, "first", 0, "number of the first record")
	flags.Uint64Var(&p.records, "records", 1_000_000, "at most")
	flags.DurationVar(&p.long, "for", time.Hour, "at most")
	flags.IntVar(&p.conns, "conns", putConns, "connections")
	flags.IntVar(&p.batch, "batch", putBatch, "records of a request")
	flags.BoolVar(&p.hot, "hot", false, "all under one key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	start := time.Now()
	n, err := p.run(context.Background())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(putDone{n, time.Since(start).Seconds(), ownCPU().Seconds()})
}

func (p put) run(ctx context.Context) (uint64, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: p.conns, WriteBufferSize: 64 * kib}, Timeout: 5 * time.Minute}
	defer client.CloseIdleConnections()
	var next, done atomic.Uint64
	errs := make([]error, p.conns)
	end := time.Now().Add(p.long)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			var body []byte
			for errs[i] == nil && time.Now().Before(end) {
				from := (next.Add(1) - 1) * uint64(p.batch)
				if from >= p.records {
					return
				}
				n := int(min(uint64(p.batch), p.records-from))
				body = mergesBody(body[:0], p.first+from, n, p.hot)
				if errs[i] = p.send(ctx, client, body); errs[i] == nil {
					done.Add(uint64(n))
				}
			}
		})
	}
	group.Wait()
	return done.Load(), errors.Join(errs...)
}

func (p put) send(ctx context.Context, client *http.Client, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, p.url+"/multihash", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, kib))
	if res.StatusCode != http.StatusAccepted {
		return fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(text))
	}
	return err
}

// runPut runs it as a process of its own.
func (b *bench) runPut(ctx context.Context, p put) (d putDone, err error) {
	done, err := runToEnd(ctx, b.self, p.args()...)
	if err != nil {
		return d, err
	}
	return d, decodeJSON(done.stdout, &d)
}
