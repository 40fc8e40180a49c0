package ipni

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/indexer/inspect"
	"github.com/hashstream/hashstream/internal/node"
)

// inspect has an inspection done and its answer written to out: by the node of this home, or
// where none runs here, with those of the configured roles that it needs.
func (a commands) inspect(ctx context.Context, r inspect.Request, roles []string, out io.Writer) error {
	c, err := a.Config(nil)
	if err != nil {
		return err
	}
	client, err := control.Dial(ctx, c.Home)
	if errors.Is(err, control.ErrNoNode) {
		return a.withIndex(ctx, c, roles, func(s *indexer.Service) error { return s.Inspection().Do(ctx, r, out) })
	}
	if err != nil {
		return app.Failed(err)
	}
	defer client.Close()
	args, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return noRole(client.Do(ctx, node.CommandIndexer, args, out))
}

// noRole explains that a node has no provider index.
func noRole(err error) error {
	if errors.Is(err, control.ErrNoCommand) {
		return app.Hint(errors.New("the node of this home has no role in a provider index"), "set ipni.roles in its configuration and start it again")
	}
	return err
}

// withIndex calls f with the provider index of this home, on which no node runs.
func (a commands) withIndex(ctx context.Context, c config.Config, roles []string, f func(*indexer.Service) error) error {
	if !indexer.Wanted(c) {
		return app.Hint(errors.New("this home has no role in a provider index"), "set ipni.roles in its configuration")
	}
	c.IPNI.Roles = slices.DeleteFunc(slices.Clone(c.IPNI.Roles), func(role string) bool { return !slices.Contains(roles, role) })
	switch {
	case slices.Contains(roles, indexer.RoleIngest):
	case backends.Shared(c.IPNI.State):
		return app.Hint(errors.New("this home has a part of an index that other nodes have parts of too (ipni.state)"),
			"their copies, and a mirror of the chains (mirror.store), are what it is made anew from")
	default: // it is about this node's store alone
		c.P2P.Listen, c.Mirror.Store, c.Shard.Listen = nil, "", ""
	}
	if c.Shard.Listen != "" {
		return app.Hint(errors.New("no node is running in this home, which has a part of the index only"), "start one with 'hashstream serve'")
	}
	c.Mirror.Write = false
	return a.WithStores(ctx, c, func(s *node.Stores) (err error) {
		ix, err := indexer.Open(ctx, c, indexer.Node{Keys: s.KV, Version: app.Version()})
		if err != nil {
			return app.Failed(err)
		}
		defer func() { err = errors.Join(err, ix.Close()) }()
		return f(ix)
	})
}

// lines calls f with each line of JSON of an answer, as it comes.
func lines[T any](ask func(io.Writer) error, f func(T) error) error {
	r, w := io.Pipe()
	asked := make(chan error, 1)
	go func() {
		err := ask(w)
		w.CloseWithError(err) // nil is the end
		asked <- err
	}()
	err := func() error {
		for d := json.NewDecoder(bufio.NewReader(r)); ; {
			var line T
			if err := d.Decode(&line); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := f(line); err != nil {
				return err
			}
		}
	}()
	if err != nil {
		r.CloseWithError(fmt.Errorf("answer: %w", err))
	}
	if first := <-asked; first != nil {
		return first
	}
	return err
}
