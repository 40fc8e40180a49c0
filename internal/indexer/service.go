// Package indexer assembles the provider index of a node: the roles that its
// configuration names, over the packages below ipni.
//
// # Errors
//
// What cannot work as configured matches [io/fs.ErrInvalid]; what fails keeps the
// error of the part that failed.
//
// A Service is safe for concurrent use.
package indexer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/identity"
	"github.com/hashstream/hashstream/internal/indexer/copying"
	"github.com/hashstream/hashstream/internal/indexer/foreign"
	"github.com/hashstream/hashstream/internal/indexer/operate"
	"github.com/hashstream/hashstream/internal/indexer/shard"
	"github.com/hashstream/hashstream/internal/indexer/watch"
	"github.com/hashstream/hashstream/internal/obs/ipniobs"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/find"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/publish"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/kv"
)

// The roles.
const (
	RoleIngest  = "ingest"
	RoleStore   = "store"
	RoleFind    = "find"
	RolePublish = "publish"
)

// infoAge is how old an answer may be of what other nodes know of providers.
const infoAge = 2 * time.Second

// Node is what a node lends to its provider index.
type Node struct {
	Keys    kv.Store // of the node's index, which tells what is published
	Version string
	Log     *slog.Logger
	Metrics *ipniobs.Metrics // default: none that anybody sees
	Backend *backends.Options
}

// Service is the provider index of a node.
type Service struct {
	config config.Config
	node   Node
	log    *slog.Logger
	key    crypto.PrivKey
	id     peer.ID
	state  kv.Store

	values    *backends.Values // nil without the role store
	store     *store.Store     // the same
	index     shard.Index
	registry  *registry.Registry
	ingester  *ingest.Ingester   // nil without the role ingest
	finder    ipni.Finder        // nil without the role find
	publisher *publish.Publisher // nil without the role publish
	chains    *chains
	copier    *copying.Copier // nil without a mirror that is written
	shard     *shard.Shard
	foreign   *foreign.Index // nil without other indexers
	rules     *policy.Lists  // of whom others may be told
	watcher   *watch.Watcher // nil without an index to compare with
	operator  *operate.Operator
	token     string         // of who may operate, empty for nobody
	served    ipnihttp.Index // what lookups are answered from, with the role find

	mu      sync.Mutex
	address string // of the gateway
	closers []io.Closer
}

// Wanted reports whether c names a role.
func Wanted(c config.Config) bool { return len(c.IPNI.Roles) > 0 }

// Open opens what the roles of c need.
func Open(ctx context.Context, c config.Config, n Node) (_ *Service, err error) {
	if err := checkShared(c); err != nil {
		return nil, err
	}
	s := &Service{config: c, node: n, log: n.Log, state: n.Keys}
	if s.node.Metrics == nil {
		s.node.Metrics = ipniobs.New(nil)
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, step := range []func(context.Context) error{s.openState, s.openStore, s.openShard, s.openChains, s.openIngest, s.openRules, s.openOperator, s.openFind, s.openPublish} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	s.node.Metrics.Breakers(s.breakers)
	return s, nil
}

// has reports whether the node has a role.
func (s *Service) has(role string) bool { return slices.Contains(s.config.IPNI.Roles, role) }

// Close lets go of everything.
func (s *Service) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i].Close())
	}
	return errors.Join(errs...)
}

// path returns a path that starts at the home.
func (s *Service) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.config.Home, name)
}

func (s *Service) openState(ctx context.Context) error {
	var err error
	if s.key, err = identity.Load(s.path(s.config.IPNI.Key)); err != nil {
		return err
	}
	if s.id, err = peer.IDFromPrivateKey(s.key); err != nil {
		return err
	}
	if url := s.config.IPNI.State; url != "" {
		shared, closer, err := backends.KV(ctx, s.config.Home, url, s.node.Backend)
		if err != nil {
			return err
		}
		s.state, s.closers = shared, append(s.closers, closer)
		s.registry = registry.NewShared(s.state)
		return nil
	}
	s.registry = registry.New(s.state)
	return nil
}

func (s *Service) openStore(ctx context.Context) error {
	if !s.has(RoleStore) {
		return nil
	}
	var err error
	if s.values, err = backends.OpenValues(ctx, s.config, s.node.Backend); err != nil {
		return err
	}
	s.closers = append(s.closers, s.values)
	if s.values.Stats != nil {
		s.node.Metrics.Store(s.values.Stats)
	}
	s.store, err = store.Open(ctx, s.values, s.values.Rows, &store.Options{Compact: s.config.IPNI.Mode == "compact"})
	return err
}

// checkShared refuses stores by which nodes would spoil each other's work.
func checkShared(c config.Config) error {
	switch together := backends.Shared(c.IPNI.State); {
	case together && slices.Contains(c.IPNI.Roles, RoleStore) && backends.Shared(c.IPNI.Values):
		return fmt.Errorf("indexer: nodes of one ipni.state keep copies for each other: set ipni.values to a store of this node's own, such as segments:ipni: %w", fs.ErrInvalid)
	case c.IPNI.State == "" && backends.Shared(c.Store.Index) && slices.Contains(c.IPNI.Roles, RoleIngest):
		return fmt.Errorf("indexer: other nodes may use store.index and ingest too: set ipni.state to the same URL to share the work with them, "+
			"or to pebble:ipni/state for an index of this node's own: %w", fs.ErrInvalid)
	}
	return nil
}

// openShard makes the node one of a cluster, if it shares a state.
func (s *Service) openShard(context.Context) error {
	o := shard.Options{Config: s.config.Shard, Store: s.store, ID: s.id, Full: s.full, Version: s.node.Version, Log: s.log, Written: s.node.Metrics.Written,
		Unaddressed: s.config.Mirror.Store != "" && s.config.Mirror.Read != "publisher"}
	if backends.Shared(s.config.IPNI.State) {
		o.State = s.state
	}
	if file := s.config.Shard.TokenFile; file != "" {
		token, err := identity.Token(s.path(file))
		if err != nil {
			return fmt.Errorf("indexer: shard.token_file: %w", err)
		}
		o.Token = token
	}
	var err error
	if s.shard, err = shard.Open(o); err != nil {
		return err
	}
	s.closers = append(s.closers, s.shard)
	s.index = s.shard.Index()
	if s.shard.Together() {
		s.node.Metrics.Follows(s.shard.Owns)
	}
	return nil
}

// follower returns the ingester as other nodes know it, nil without one.
func (s *Service) follower() shard.Follower {
	if s.ingester == nil {
		return nil
	}
	return s.ingester
}

// openRules reads the rules of operators, who may have told another node.
func (s *Service) openRules(ctx context.Context) error {
	if s.ingester != nil {
		s.rules = s.ingester.Lists()
		return nil // it loads them
	}
	s.rules = policy.New(s.state, &policy.Options{DenyByDefault: s.config.Ingest.Publishers == "listed"})
	return s.rules.Load(ctx)
}

// allowed reports whether anybody may be told of a provider.
func (s *Service) allowed(id peer.ID) bool { return s.rules.Check(id) == nil }

func (s *Service) runRules(ctx context.Context) error {
	if backends.Shared(s.config.IPNI.State) || backends.Shared(s.config.Store.Index) {
		s.rules.Follow(ctx, infoAge, func(err error) { s.log.Warn("rules of operators", "error", err) })
	}
	return nil
}

func (s *Service) openFind(context.Context) error {
	if !s.has(RoleFind) {
		return nil
	}
	s.finder = find.New(s.index, registry.NewCache(s.registry, infoAge), &find.Options{Allowed: s.allowed})
	s.served = ipnihttp.Index{Finder: s.finder, Sealed: s.index, Providers: s.view(), Stats: s.stats}
	return errors.Join(s.openForeign(), s.openWatch())
}

// Enter makes the records of this node part of what the nodes of ipni.state share, or says why they must not be. It
// comes before anything is served.
func (s *Service) Enter(ctx context.Context) error { return s.shard.Enter(ctx) }

// Found begins an index of several nodes anew with the records of this one, which does not run.
func (s *Service) Found(ctx context.Context) error { return s.shard.Found(ctx) }

// Run works until ctx ends: it follows chains and advertises what the node holds. gateway
// is the URL of the node's public listener, records that of the one for [Service.Shard].
func (s *Service) Run(ctx context.Context, gateway, records string) error {
	s.mu.Lock()
	s.address = gateway
	s.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for name, part := range map[string]func(context.Context) error{"ingest": s.runIngest, "mirror": s.runMirror, "operator": s.operator.Run, "watch": s.runWatch, "rules": s.runRules, "shard": func(ctx context.Context) error {
		return s.shard.Run(ctx, records, s.follower())
	}, "publish": s.runPublish} {
		running.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("indexer: %s: %w", name, err))
			}
		})
	}
	running.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
