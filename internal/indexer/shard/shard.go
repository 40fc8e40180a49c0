// Package shard makes a node one of those that share a provider index: it keeps
// records for the others and reads theirs, and follows its share of the publishers.
//
// # Errors
//
// What cannot work as configured matches [io/fs.ErrInvalid].
//
// A Shard is safe for concurrent use.
package shard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	neturl "net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/local"
	"github.com/hashstream/hashstream/ipni/cluster/rebalance"
	"github.com/hashstream/hashstream/ipni/cluster/router"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/kv"
)

// Options say what the node brings.
type Options struct {
	Config  config.Shard
	State   kv.Store                            // that nodes share, nil for a node that is alone
	Store   *store.Store                        // records of this node, nil if it keeps none
	ID      peer.ID                             // names the node if the configuration does not
	Token   string                              // that nodes and writers show; empty lets in this machine alone
	Full    func() bool                         // the disk of the records takes no more
	Written func(*http.Request, storehttp.Done) // called after each write
	// Unaddressed says that chains can be had of publishers without an address, of a mirror.
	Unaddressed bool
	Version     string
	Log         *slog.Logger // default: none
}

// Follower follows the chains of publishers, as [ingest.Ingester] does.
type Follower interface {
	Announce(ctx context.Context, ad cid.Cid, publisher peer.AddrInfo) error
	Status(ctx context.Context, publisher peer.ID) (ingest.Status, error)
	Statuses(ctx context.Context) ([]ingest.Status, error)
}

// Index is where records are written and looked up.
type Index interface {
	ipni.Sink
	ipni.Lookup
	ipni.SealedReader
}

// Shard is a node among others.
type Shard struct {
	o       Options
	members *cluster.Members
	router  *router.Router     // nil if the node is alone
	records *local.Node        // nil without records
	replica *rebalance.Replica // the same, for writes
	leases  *assign.Table
	full    atomic.Bool // see Full

	mu      sync.Mutex
	session *cluster.Session // once the node has joined
	agent   *rebalance.Agent // the same, if it has records
	held    map[peer.ID]bool
	clients map[reached]*storehttp.Client
}

// Open makes a node one of a cluster, if it has a state to share. Close must be called.
func Open(o Options) (*Shard, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	sh := &Shard{o: o, held: map[peer.ID]bool{}, clients: map[reached]*storehttp.Client{}}
	if o.Store != nil {
		sh.records = local.New(o.Store)
		sh.replica = rebalance.NewReplica(sh.records, 0)
	}
	switch {
	case o.State == nil && o.Store == nil:
		return nil, fmt.Errorf("shard: a node without the role \"store\" needs others: set ipni.state: %w", fs.ErrInvalid)
	case o.State == nil:
		return sh, nil
	case o.Store != nil && o.Store.Compact():
		return nil, fmt.Errorf("shard: ipni.mode \"compact\" is for a node that is alone: %w", fs.ErrInvalid)
	case o.Store != nil && o.Config.Listen == "":
		return nil, fmt.Errorf("shard: shard.listen is needed for others to reach the records of this node: %w", fs.ErrInvalid)
	case o.Config.URL == "" && unspecified(o.Config.Listen):
		return nil, errNowhere
	}
	sh.members = cluster.NewMembers(o.State, cluster.Timing{})
	sh.router = router.New(o.State, sh.dial, nil)
	sh.leases = assign.NewTable(o.State)
	return sh, nil
}

// Peers returns how the nodes that were asked so far answer, none if this one is alone.
func (sh *Shard) Peers() []router.PeerStatus {
	if sh.router == nil {
		return nil
	}
	return sh.router.Peers()
}

// Index returns the index of all nodes, or of this one if it is alone.
func (sh *Shard) Index() Index {
	if sh.router != nil {
		return sh.router
	}
	return sh.o.Store
}

// Together reports whether the node shares its index with others.
func (sh *Shard) Together() bool { return sh.router != nil }

// name is that of this node among the members.
func (sh *Shard) name() string {
	if name := sh.o.Config.Name; name != "" {
		return name
	}
	return sh.o.ID.String()
}

// dial returns the way to the store of a member.
func (sh *Shard) dial(m cluster.Member) (cluster.Node, error) {
	if m.ID == sh.name() && sh.replica != nil {
		return sh.replica, nil
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	to := reached{m.ID, m.URL}
	if c, ok := sh.clients[to]; ok {
		return c, nil
	}
	c, err := storehttp.NewClient(m.URL, &storehttp.ClientOptions{CallerOptions: wire.CallerOptions{Header: sh.credentials(m.ID)}, LookupOnce: true})
	if err == nil {
		sh.clients[to] = c
	}
	return c, err
}

// Close closes the connections to others.
func (sh *Shard) Close() error {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var errs []error
	for _, c := range sh.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Run is a member of the cluster until ctx ends. url is where others reach the listener
// of [Shard.Handler], if the configuration does not say so; follower is nil if this node
// follows nobody. A node that is alone has nothing to do.
func (sh *Shard) Run(ctx context.Context, url string, follower Follower) error {
	if sh.router == nil {
		return nil
	}
	if sh.o.Config.URL != "" {
		url = sh.o.Config.URL
	}
	if url == "" && follower != nil {
		return fmt.Errorf("shard: shard.listen is needed for others to pass announcements on to this node: %w", fs.ErrInvalid)
	}
	if u, err := neturl.Parse(url); err == nil && unspecified(u.Host) {
		return errNowhere
	}
	self := cluster.Member{ID: sh.name(), URL: url, Weight: uint32(sh.o.Config.Weight)}
	if err := sh.Enter(ctx); err != nil {
		return err
	}
	if sh.replica != nil {
		self.Roles = append(self.Roles, cluster.RoleStore)
		var err error
		if self.Store, err = sh.records.Identity(ctx); err != nil {
			return err
		}
		if err := sh.single(ctx, self.Store); err != nil {
			return err
		}
	}
	if follower != nil {
		self.Roles = append(self.Roles, cluster.RoleIngest)
	}
	session, err := sh.members.Join(ctx, self)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	sh.session = session
	sh.mu.Unlock()
	parts := []func(context.Context) error{session.Run, sh.router.Run, func(ctx context.Context) error { return sh.watch(ctx, session) }}
	if sh.replica != nil {
		agent := rebalance.NewAgent(sh.o.State, sh.members, session, sh.replica, sh.dial, &rebalance.Options{Replicas: sh.o.Config.Replicas, Rate: int(sh.o.Config.RebalanceRate), Logger: sh.o.Log})
		sh.mu.Lock()
		sh.agent = agent
		sh.mu.Unlock()
		parts = append(parts, agent.Run)
	}
	if follower != nil {
		if err := sh.follow(ctx, follower); err != nil {
			return err
		}
		assigner := assign.New(sh.o.State, sh.members, session, &assign.Options{Logger: sh.o.Log})
		parts = append(parts, func(ctx context.Context) error {
			return assigner.Run(ctx, func(ctx context.Context, l *assign.Lease) { sh.work(ctx, l, follower) })
		})
	}
	err = together(ctx, parts)
	if !errors.Is(err, cluster.ErrForgotten) || ctx.Err() != nil {
		return err
	}
	sh.o.Log.Info("this node has left the others; it only reads and passes writes on until it is started again")
	return sh.router.Run(ctx)
}

// together runs parts until one of them returns, and then ends the others. It returns why.
func together(ctx context.Context, parts []func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() { cancel(part(ctx)) })
	}
	running.Wait()
	return context.Cause(ctx)
}

// Full reports whether the disk of a node that keeps records is so full that nobody may bring more:
// each write goes to all copies.
func (sh *Shard) Full() bool { return sh.full.Load() }

// watch tells the others when this node takes no more, and keeps an eye on them, so that it is known
// who is dead when somebody asks.
func (sh *Shard) watch(ctx context.Context, session *cluster.Session) error {
	frozen := false
	for tick := time.NewTicker(5 * time.Second); ; {
		members, err := sh.members.List(ctx)
		if err == nil {
			sh.full.Store(slices.ContainsFunc(members, func(m cluster.Status) bool { return m.Alive && m.Frozen && m.Has(cluster.RoleStore) }))
		} else if ctx.Err() == nil {
			sh.o.Log.Warn("members", "error", err)
		}
		if now := sh.o.Full(); now != frozen {
			if err := session.Set(ctx, func(m *cluster.Member) { m.Frozen = now }); err == nil {
				frozen = now
			}
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Copies counts the copies of partitions that this node has, by their state.
func (sh *Shard) Copies(ctx context.Context) (map[cluster.State]int, error) {
	sh.mu.Lock()
	agent := sh.agent
	sh.mu.Unlock()
	if agent == nil {
		return nil, nil
	}
	return agent.Copies(ctx)
}
