package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// publishers is how many chains are read at the same time: as many as a node's default.
const publishers = 4

// ingesting has a node take chains from this machine.
var ingesting = []string{"HASHSTREAM_IPNI_ROLES=ingest,store,find", "HASHSTREAM_INGEST_ALLOW_PRIVATE=true", "HASHSTREAM_INGEST_FREEZE_AT=100"}

// ingestChains announces chains to a node and waits until they are indexed, and what was written
// is merged.
func ingestChains(ctx context.Context, b *bench) error {
	if b.binary == "" {
		return nil
	}
	dir, err := b.room(int64(b.scale.index)*400 + 2*gib)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	begun := time.Now()
	chains, err := makeChains(dir, publishers, b.scale.index)
	if err != nil {
		return err
	}
	b.logf("    chains made in %s", time.Since(begun).Round(100*time.Millisecond))
	b.record("ipni-ingest", sysBound, sample{Value: sealRate(b.scale.load/2, chains[0])})
	publisher, err := b.startPublisher(ctx, chains)
	if err != nil {
		return err
	}
	defer publisher.stop()
	home, err := b.newHome(ctx, dir)
	if err != nil {
		return err
	}
	node, err := b.startHashstream(ctx, home, ingesting...)
	if err != nil {
		return err
	}
	defer node.stop()
	return b.ingest(ctx, node, publisher, chains)
}

func (b *bench) ingest(ctx context.Context, node, publisher *server, chains []*chain) error {
	start := time.Now()
	n, err := follow(ctx, node, publisher, chains)
	if err != nil {
		return err
	}
	took := time.Since(start)
	own, other := node.cpu(), publisher.cpu()
	rest, err := quiet(ctx, node)
	if err != nil {
		return err
	}
	all := max(rest.Sub(start), took)
	_, peak, err := memory(node.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.record("ipni-mem-ingest", sysHashstream, sample{Value: float64(peak) / mib})
	b.record("ipni-ingest", sysHashstream, sample{Value: float64(n) / all.Seconds()})
	each := func(d time.Duration) float64 { return d.Seconds() * 1e6 / float64(n) }
	b.note("Ingestion of %d multihashes in %d chains: %.0f a second until all were indexed, %.1f s more until all were merged; %.2f µs of CPU a multihash until then, on %.1f cores, "+
		"%.2f in all; the publishers used %.2f µs.",
		n, len(chains), float64(n)/took.Seconds(), (all - took).Seconds(), each(own), own.Seconds()/took.Seconds(), each(node.cpu()), each(other))
	return foundAgain(ctx, node.addr, n)
}

// follow announces chains and waits until they are indexed. It returns how many multihashes are in them.
func follow(ctx context.Context, node, publisher *server, chains []*chain) (n uint64, err error) {
	for i, addr := range address.FindAllString(publisher.line, -1) {
		if err := announce(ctx, node.addr, addr, chains[i]); err != nil {
			return 0, err
		}
		n += chains[i].Multihashes
	}
	return n, indexed(ctx, node.addr, chains)
}

// announce tells a node of a chain, as publishers do.
func announce(ctx context.Context, node, publisher string, c *chain) error {
	host, port, err := net.SplitHostPort(publisher)
	if err != nil {
		return err
	}
	addr, err := multiaddr.NewMultiaddr(fmt.Sprintf("/ip4/%s/tcp/%s/http/p2p/%s", host, port, c.ID))
	if err != nil {
		return err
	}
	body, err := ad.EncodeMessage(ad.Message{CID: c.Head, Addrs: []multiaddr.Multiaddr{addr}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+node+"/announce", bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("announce: %s", res.Status)
	}
	return nil
}

// indexed waits until the heads of all chains are.
func indexed(ctx context.Context, node string, chains []*chain) error {
	c := newClient()
	defer c.CloseIdleConnections()
	for i := 0; i < len(chains); {
		body, err := lookup(ctx, c, node, "/sync/status/ad/"+chains[i].Head.String())
		if err != nil {
			return err
		}
		var status struct{ State, Reason string }
		if err := json.Unmarshal(body, &status); err != nil {
			return err
		}
		switch status.State {
		case "indexed":
			i++
			continue
		case "skipped":
			return fmt.Errorf("advertisement %s was skipped: %s", chains[i].Head, status.Reason)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// foundAgain asks for some of n multihashes.
func foundAgain(ctx context.Context, node string, n uint64) error {
	c := newClient()
	defer c.CloseIdleConnections()
	for i := range uint64(100) {
		key := dhash.SecondHash(plainHash(mix(i) % n))
		if _, err := lookup(ctx, c, node, "/encrypted/multihash/"+key.Multihash().B58String()); err != nil {
			return err
		}
	}
	return nil
}

// sealRate returns how many multihashes a second all cores can hash twice and encrypt the value key
// for, and hash the text of the chunk that they came in: what the formats ask for, and no more. It is
// the processor time of one core that tells, so that others on the machine do not count.
func sealRate(long time.Duration, c *chain) float64 {
	text := make([]byte, 65*chunkHashes) // as large as a chunk
	valueKey := dhash.ValueKey(c.ID, make([]byte, 36))
	var buf []byte
	n, start, cpu := uint64(0), time.Now(), ownCPU()
	for time.Since(start) < long || n == 0 {
		sum := sha256.Sum256(text)
		copy(text, sum[:])
		for range chunkHashes {
			mh := plainHash(n)
			key := dhash.SecondHash(mh)
			buf = dhash.Seal(append(buf[:0], key[:]...), valueKey, mh)
			n++
		}
	}
	return float64(n) * float64(cores()) / (ownCPU() - cpu).Seconds()
}
