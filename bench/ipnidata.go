package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni/dhash"
)

const (
	sysDHStore = "dhstore" // where it is on the PATH
	sysRows    = "pebble"  // a row for each value

	sealedValue  = 102   // bytes of an encrypted value key of an ed25519 peer, its context id 36 bytes
	compactValue = 34    // bytes of a sha2-256 multihash
	chunkHashes  = 16384 // multihashes in a chunk, as publishers make them
	absent       = 1 << 40
	hotKey       = absent - 1 // a record number of the key that has many values
	hotValues    = 14000
)

// mix is the output function of splitmix64: records cost next to nothing to make, and
// are the same wherever they are made.
func mix(n uint64) uint64 {
	n *= 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// indexKey returns the key of record n.
func indexKey(n uint64) (k dhash.Key) {
	for i := range 4 {
		binary.LittleEndian.PutUint64(k[8*i:], mix(n*4+uint64(i)+1))
	}
	return k
}

// fillValue fills v with the value of record n.
func fillValue(v []byte, n uint64) {
	var word [8]byte
	for i := uint64(0); len(v) > 0; i++ {
		binary.LittleEndian.PutUint64(word[:], mix(^(n*16 + i)))
		v = v[copy(v, word[:]):]
	}
}

// plainHash returns the sha2-256 multihash number n.
func plainHash(n uint64) []byte {
	k := indexKey(n)
	return append([]byte{multihash.SHA2_256, dhash.KeySize}, k[:]...)
}

// mergesBody appends the JSON by which dhstore takes records n to n+count-1. Those of the hot key
// have it instead of theirs.
func mergesBody(body []byte, n uint64, count int, hot bool) []byte {
	body = append(body, `{"merges":[`...)
	var value [sealedValue]byte
	for i := range uint64(count) {
		key := indexKey(n + i)
		if hot {
			key = indexKey(hotKey)
		}
		fillValue(value[:], n+i)
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"key":"`...)
		body = base64.StdEncoding.AppendEncode(body, key.Multihash())
		body = append(body, `","value":"`...)
		body = base64.StdEncoding.AppendEncode(body, value[:])
		body = append(body, `"}`...)
	}
	return append(body, "]}"...)
}

// lookupPaths returns the paths of the lookups of n random records of so many.
func lookupPaths(records uint64, n int) []string {
	random := rand.New(rand.NewPCG(records, 7))
	paths := make([]string, n)
	for i := range paths {
		paths[i] = lookupPath(random.Uint64N(records))
	}
	return paths
}

func lookupPath(n uint64) string {
	return "/encrypted/multihash/" + indexKey(n).Multihash().B58String()
}

// room makes a folder on disk, where so many bytes must be free.
func (b *bench) room(need int64) (string, error) {
	free, err := freeBytes(b.bigDir)
	if err != nil || free < need {
		return "", cmp.Or(err, fmt.Errorf("%.1f GiB must be free in %s, for the provider index", float64(need)/gib, b.bigDir))
	}
	return os.MkdirTemp(b.bigDir, "hashstream-bench-")
}

// quiet waits until a server has done nothing for a while, and returns since when: until then it
// merges what was written.
func quiet(ctx context.Context, s *server) (time.Time, error) {
	const look, long, share = 100 * time.Millisecond, 1500 * time.Millisecond, 0.04
	tick := time.NewTicker(look)
	defer tick.Stop()
	since, cpu := time.Now(), s.cpu()
	for limit := since.Add(10 * time.Minute); time.Now().Before(limit); {
		select {
		case <-tick.C:
		case <-s.exited:
			return since, fmt.Errorf("server ended: %s", s.log)
		case <-ctx.Done():
			return since, ctx.Err()
		}
		used := s.cpu() - cpu
		switch passed := time.Since(since); {
		case used > time.Duration(share*float64(long)):
			since, cpu = time.Now(), s.cpu()
		case passed >= long:
			return since, nil
		}
	}
	return since, errors.New("the server does not come to rest")
}
