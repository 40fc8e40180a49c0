package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipld/merkledag"
	flatfs "github.com/ipfs/go-ds-flatfs"
	ipld "github.com/ipfs/go-ipld-format"
	carv2store "github.com/ipld/go-car/v2/blockstore"
)

// startBoxo serves one CAR with boxo's gateway handler.
func (b *bench) startBoxo(ctx context.Context, car string) (*server, error) {
	return startServer(ctx, nil, b.self, "boxo-serve", car)
}

// boxoServe is a child: boxo's trustless gateway over go-car's read-only
// blockstore (memory-mapped, its index in memory), with neither timeouts nor
// limits, which real gateways pay for.
func boxoServe(args []string) error {
	bs, err := carv2store.OpenReadOnly(args[0])
	if err != nil {
		return err
	}
	defer bs.Close()
	backend, err := gateway.NewBlocksBackend(blockservice.New(bs, offline.Exchange(bs)))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, gateway.NewHandler(gateway.Config{NoDNSLink: true}, backend))
}

// runBoxoAdd imports file into a new flatfs at dir and returns its root.
func (b *bench) runBoxoAdd(ctx context.Context, dir, file string) (finished, error) {
	return runToEnd(ctx, b.self, "boxo-add", dir, file, strconv.Itoa(mib))
}

// boxoAdd is a child: boxo's importer as Kubo uses it, into a flatfs with sync and
// Kubo's shard function, through a batch of at most 128 nodes or 20 MiB, blocks
// written without asking first whether they are there.
func boxoAdd(args []string) error {
	leaf, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	f, err := os.Open(args[1])
	if err != nil {
		return err
	}
	defer f.Close()
	store, err := flatfs.CreateOrOpen(args[0], flatfs.IPFS_DEF_SHARD, true)
	if err != nil {
		return err
	}
	defer store.Close()
	bs := blockstore.NewBlockstore(store, blockstore.NoPrefix(), blockstore.WriteThrough(true))
	service := merkledag.NewDAGService(blockservice.New(bs, offline.Exchange(bs), blockservice.WriteThrough(true)))
	dag := ipld.NewBufferedDAG(context.Background(), service, ipld.MaxNodesBatchOption(128), ipld.MaxSizeBatchOption(20*mib))
	root, err := importFile(bufio.NewReaderSize(f, mib), leaf, dag)
	if err != nil {
		return err
	}
	if err := dag.Commit(); err != nil {
		return err
	}
	fmt.Println(root.Cid())
	return nil
}
