// Package operate does what operators, and the assigner of storetheindex, tell a node of a provider
// index over HTTP. What it serves are the routes of [ingesthttp.NewAdmin]; docs/api/ipni.md tells
// them.
//
// # Who may
//
// Everybody who shows the token of [New], and nobody else: also what only tells is not
// answered without it.
//
// # Errors
//
// What a node cannot do is answered 501, with a sentence that says why.
//
// An Operator is safe for concurrent use. [Operator.Run] does what takes long.
package operate

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// maxSyncs is how many chains are read at the same time because operators asked for it.
const maxSyncs = 64

// Node is the node that is told what to do.
type Node struct {
	ID       peer.ID
	Ingester *ingest.Ingester // nil if it follows no chains: then all is answered 501
	Registry *registry.Registry
	State    kv.Store // what Ingester keeps its state in

	Leases *assign.Table                                                          // of publishers, nil if the node is alone
	Member string                                                                 // how Leases names the node
	Owns   func(id peer.ID) bool                                                  // reports whether the node has the lease of a publisher
	Listed bool                                                                   // only publishers that are allowed are followed
	Usage  func() (float64, bool)                                                 // of the disk in percent, if it is known
	Log    *slog.Logger                                                           // default: none
	Follow func(ctx context.Context, head cid.Cid, publisher peer.AddrInfo) error // by this node, or who has the lease
	Import func(ctx context.Context, indexer string) error                        // the publishers that another index knows
}

// Operator does what a node is told.
type Operator struct {
	n    Node
	rows *state.Store

	jobs chan ingesthttp.Sync

	mu      sync.Mutex
	syncing map[peer.ID]bool
}

// New returns an Operator of a node.
func New(n Node) *Operator {
	if n.Log == nil {
		n.Log = slog.New(slog.DiscardHandler)
	}
	return &Operator{n: n, rows: state.New(n.State), jobs: make(chan ingesthttp.Sync, maxSyncs), syncing: map[peer.ID]bool{}}
}

// Handler returns the handler of requests that show a token.
func (o *Operator) Handler(token string) http.Handler {
	inner := ingesthttp.NewAdmin(o.admin(), o.n.Log)
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(shown(r)))
		if token == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			// Browsers must not ask for a password here, which they would send for other sites then.
			w.Header().Set("WWW-Authenticate", "Bearer")
			wire.WriteError(w, r, http.StatusUnauthorized, wire.Refuse(http.StatusUnauthorized, "show the token: Authorization: Bearer …"), nil)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// shown returns the token of a request: as such, or as a password, which is what clients send that know
// no more than a URL.
func shown(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

func (o *Operator) admin() ingesthttp.Admin {
	if o.n.Ingester == nil {
		return ingesthttp.Admin{}
	}
	return ingesthttp.Admin{
		Sync: o.sync, Syncing: o.inSync, Allow: o.n.Ingester.Allow, Block: o.n.Ingester.Block,
		Freeze: o.n.Ingester.Freeze, Unfreeze: o.n.Ingester.Unfreeze, Health: o.health,
		Status:         func(context.Context) (ingesthttp.NodeStatus, error) { return o.Status(), nil },
		RemoveProvider: o.remove, ImportProviders: o.importProviders, MarkProcessed: o.markProcessed,
		Assign: o.assign, Unassign: o.unassign, Assigned: o.assigned, Preferred: o.preferred, Handoff: o.handoff,
	}
}

// Status returns what assigners ask a node for.
func (o *Operator) Status() ingesthttp.NodeStatus {
	s := ingesthttp.NodeStatus{ID: o.n.ID, Usage: -1}
	if o.n.Ingester != nil {
		s.Frozen = o.n.Ingester.Frozen()
	}
	if used, ok := o.n.Usage(); ok {
		s.Usage = used
	}
	return s
}

// health tells why nothing is ingested, if that is so.
func (o *Operator) health(context.Context) error {
	if _, err := o.n.Ingester.Paused(); err != nil {
		return wire.Refuse(http.StatusServiceUnavailable, "ingestion waits: %v", err)
	}
	return nil
}

// remove removes a provider, and blocks it before if that is wanted, so that nothing comes back.
func (o *Operator) remove(ctx context.Context, id peer.ID, block bool) error {
	if block {
		if err := o.n.Ingester.Block(ctx, id); err != nil {
			return err
		}
	}
	if _, err := o.n.Registry.Provider(ctx, id); err != nil {
		return err
	}
	return o.n.Ingester.Remove(ctx, id)
}

func (o *Operator) importProviders(ctx context.Context, indexer *url.URL) error {
	return o.n.Import(ctx, indexer.String())
}

// markProcessed marks an advertisement in the chain of who publishes for a provider.
func (o *Operator) markProcessed(ctx context.Context, provider peer.ID, ad cid.Cid) error {
	p, err := o.n.Registry.Provider(ctx, provider)
	switch {
	case err == nil && p.Publisher.ID != "":
		provider = p.Publisher.ID
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	default: // one of which nothing was processed yet
		if _, err := o.n.Ingester.Status(ctx, provider); err != nil {
			return err
		}
	}
	return o.n.Ingester.MarkProcessed(ctx, provider, ad)
}

// sync begins to read a chain.
func (o *Operator) sync(_ context.Context, s ingesthttp.Sync) error {
	id := s.Publisher.ID
	if err := o.n.Ingester.Allowed(id); err != nil {
		return err
	}
	if !o.n.Owns(id) {
		return wire.Refuse(http.StatusConflict, "another node follows %s", id)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.syncing[id]:
		return fmt.Errorf("operate: sync with %s: %w", id, fs.ErrExist)
	case len(o.syncing) >= maxSyncs:
		return fmt.Errorf("operate: %d syncs: %w", len(o.syncing), wire.ErrBusy)
	}
	o.syncing[id] = true
	o.jobs <- s // which has room for all
	return nil
}

// inSync returns the publishers whose chains are read because operators asked for it.
func (o *Operator) inSync(context.Context) ([]peer.ID, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []peer.ID
	for id := range o.syncing {
		all = append(all, id)
	}
	return sorted(all), nil
}

// Run reads the chains that it is told to, until ctx ends.
func (o *Operator) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case s := <-o.jobs:
			running.Go(func() { o.read(ctx, s) })
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (o *Operator) read(ctx context.Context, s ingesthttp.Sync) {
	err := o.n.Ingester.Sync(ctx, s.Publisher, &ingest.SyncOptions{Resync: s.Resync, Depth: s.Depth})
	if err != nil && ctx.Err() == nil {
		o.n.Log.Warn("sync", "publisher", s.Publisher.ID.String(), "error", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.syncing, s.Publisher.ID)
}
