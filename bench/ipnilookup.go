package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// checkLookups looks at some answers, before any is timed.
func checkLookups(ctx context.Context, addr string, records uint64, n int) error {
	c := newClient()
	defer c.CloseIdleConnections()
	random := rand.New(rand.NewPCG(records, 8))
	want := make([]byte, sealedValue)
	for range n {
		number := random.Uint64N(records)
		fillValue(want, number)
		var answer struct {
			EncryptedMultihashResults []struct {
				Multihash          []byte
				EncryptedValueKeys [][]byte
			}
		}
		body, err := lookup(ctx, c, addr, lookupPath(number))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return err
		}
		r := answer.EncryptedMultihashResults
		if len(r) != 1 || len(r[0].EncryptedValueKeys) != 1 || !bytes.Equal(r[0].EncryptedValueKeys[0], want) ||
			!bytes.Equal(r[0].Multihash, indexKey(number).Multihash()) {
			return fmt.Errorf("record %d: answer %.200q, want value %x", number, body, want)
		}
	}
	return nil
}

// lookup returns an answer in JSON.
func lookup(ctx context.Context, c *http.Client, addr, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", jsonType)
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200s", path, res.Status, body)
	}
	return body, err
}

// lookupsAtRate sends so many lookups a second on 16 connections for a while. The times, in ms,
// count from when each was due: one that waits for the one before it waits for the server.
func lookupsAtRate(ctx context.Context, addr string, paths []string, rate int, long time.Duration) ([]float64, error) {
	const conns = 16
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: conns, DisableCompression: true}, Timeout: time.Minute}
	defer c.CloseIdleConnections()
	times, errs := make([][]float64, conns), make([]error, conns)
	start, total := time.Now(), int(long.Seconds()*float64(rate))
	var group sync.WaitGroup
	for i := range conns {
		group.Go(func() {
			for n := i; n < total && errs[i] == nil; n += conns {
				due := start.Add(time.Duration(n) * time.Second / time.Duration(rate))
				time.Sleep(time.Until(due))
				_, errs[i] = lookup(ctx, c, addr, paths[n%len(paths)])
				times[i] = append(times[i], micros(due)/1000)
			}
		})
	}
	group.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}

// firstByte returns how long the first byte of the values of the hot key takes, and all of them, in ms.
func firstByte(ctx context.Context, addr string, values int) (first, all float64, err error) {
	c := newClient()
	defer c.CloseIdleConnections()
	var firsts, alls []float64
	for range 11 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+lookupPath(hotKey), nil)
		if err != nil {
			return 0, 0, err
		}
		req.Header.Set("Accept", "application/x-ndjson")
		start := time.Now()
		res, err := c.Do(req)
		if err != nil {
			return 0, 0, err
		}
		defer res.Body.Close()
		var b [1]byte
		if _, err := io.ReadFull(res.Body, b[:]); err != nil || res.StatusCode != http.StatusOK {
			return 0, 0, errors.Join(err, errors.New(res.Status))
		}
		firsts = append(firsts, micros(start)/1000)
		body, err := io.ReadAll(res.Body)
		if n := bytes.Count(body, []byte{'\n'}); err != nil || n != values {
			return 0, 0, errors.Join(err, fmt.Errorf("%d values, want %d", n, values))
		}
		alls = append(alls, micros(start)/1000)
	}
	return median(firsts), median(alls), nil
}
