package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnisync"
)

// chain is the advertisements of a publisher with their entries, each block a file whose name
// is its CID.
type chain struct {
	Key         []byte // private
	Head        cid.Cid
	Multihashes uint64
	ID          peer.ID
	dir         string
}

// chainName is the file that has the JSON of a chain.
const chainName = "chain.json"

// makeChain writes a chain of so many advertisements, each with so many chunks, of the multihashes
// from number first on.
func makeChain(dir string, number, first uint64, ads, chunks int) (*chain, error) {
	key, err := chainKey(number)
	if err != nil {
		return nil, err
	}
	c := &chain{dir: dir}
	if c.ID, err = peer.IDFromPrivateKey(key); err != nil {
		return nil, err
	}
	if c.Key, err = crypto.MarshalPrivateKey(key); err != nil {
		return nil, err
	}
	for range ads {
		entries := cid.Undef
		for range chunks {
			var mhs ipni.Multihashes
			for range chunkHashes {
				mhs = append(mhs, plainHash(first+c.Multihashes)...)
				c.Multihashes++
			}
			if entries, err = c.put(ad.EncodeChunk(mhs, entries)); err != nil {
				return nil, err
			}
		}
		a := ad.Ad{
			Previous: c.Head, Provider: c.ID, Entries: entries, Metadata: []byte{0x80, 0x12}, // bitswap
			Addrs:     []multiaddr.Multiaddr{multiaddr.StringCast("/dns4/provider.example/tcp/4001")},
			ContextID: fmt.Appendf(nil, "%036d", c.Multihashes),
		}
		if c.Head, err = c.put(ad.New(a, key)); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return c, os.WriteFile(filepath.Join(dir, chainName), text, 0o600)
}

// chainKey returns the key of a publisher, the same in every run.
func chainKey(number uint64) (crypto.PrivKey, error) {
	var seed strings.Builder
	for i := range uint64(4) {
		fmt.Fprintf(&seed, "%016x", mix(number*4+i))
	}
	key, _, err := crypto.GenerateEd25519Key(strings.NewReader(seed.String()))
	return key, err
}

func (c *chain) put(name cid.Cid, block []byte, err error) (cid.Cid, error) {
	if err != nil {
		return cid.Undef, err
	}
	return name, os.WriteFile(filepath.Join(c.dir, name.String()), block, 0o644)
}

// files is a chain as it is served.
type files struct{ *chain }

// Head implements [ipni.Chain].
func (f files) Head(context.Context) (cid.Cid, error) { return f.chain.Head, nil }

// Block implements [ipni.Chain].
func (f files) Block(_ context.Context, c cid.Cid, _ ipni.Kind) ([]byte, error) {
	return os.ReadFile(filepath.Join(f.dir, c.String()))
}

// chainServe is a child that publishes the chains in some folders, each at an address of its own. It
// prints them in a line. Chunks are sent from their files, as cheaply as a publisher can.
func chainServe(dirs []string) error {
	var addrs []string
	errs := make(chan error, len(dirs)+1)
	for _, dir := range dirs {
		c := &chain{dir: dir}
		text, err := os.ReadFile(filepath.Join(dir, chainName))
		if err := errors.Join(err, json.Unmarshal(text, c)); err != nil {
			return err
		}
		key, err := crypto.UnmarshalPrivateKey(c.Key)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addrs = append(addrs, l.Addr().String())
		signed := ipnisync.Handler(files{c}, key, nil)
		go func() { errs <- http.Serve(l, sendFiles(dir, signed)) }()
	}
	fmt.Println(strings.Join(addrs, " "))
	return <-errs
}

// startPublisher serves chains.
func (b *bench) startPublisher(ctx context.Context, chains []*chain) (*server, error) {
	args := []string{"chain-serve"}
	for _, c := range chains {
		args = append(args, c.dir)
	}
	return startServer(ctx, nil, b.self, args...)
}

// sendFiles sends blocks from their files, by sendfile; the rest is for next.
func sendFiles(dir string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := cid.Decode(filepath.Base(r.URL.Path))
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		f, err := os.Open(filepath.Join(dir, c.String()))
		if errors.Is(err, fs.ErrNotExist) {
			http.NotFound(w, r)
			return
		}
		if err != nil {
			http.Error(w, "the file cannot be read", http.StatusInternalServerError)
			return
		}
		defer f.Close()
		if fi, err := f.Stat(); err == nil {
			w.Header().Set("Content-Length", fmt.Sprint(fi.Size()))
		}
		w.Header().Set("Content-Type", "application/vnd.ipld.dag-json")
		io.Copy(w, f) // a client that has gone is nobody's fault
	})
}

// makeChains writes n chains of together about so many multihashes, on all cores.
func makeChains(dir string, n int, multihashes uint64) ([]*chain, error) {
	ads := max(int(multihashes)/(n*adChunks*chunkHashes), 1)
	chains, errs := make([]*chain, n), make([]error, n)
	limit := make(chan struct{}, cores())
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			own := filepath.Join(dir, fmt.Sprintf("chain-%d", i))
			if errs[i] = os.MkdirAll(own, 0o755); errs[i] == nil {
				chains[i], errs[i] = makeChain(own, uint64(i), uint64(i*ads*adChunks*chunkHashes), ads, adChunks)
			}
		})
	}
	group.Wait()
	return chains, errors.Join(errs...)
}
