package ipni

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/node"
)

func (a commands) foundCommand() *cobra.Command {
	var again bool
	cmd := &cobra.Command{
		Use:   "found --again",
		Short: "Begin an index of several nodes anew with the records of this one, when ipni.state is lost",
		Long: `Found makes this node, which must not run, the first of those of ipni.state: its records count as
complete, whatever they lack. It is for a state that is lost for good. The other nodes must begin with an
empty ipni.values; what is missing is read again from the publishers or the mirror.`,
		Example: `  hashstream ipni found --again`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !again {
				return app.Usagef("what the other nodes have is given up: say --again")
			}
			return a.found(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&again, "again", false, "although the records belonged to a cluster before")
	return cmd
}

func (a commands) found(ctx context.Context) error {
	c, err := a.Config(nil)
	if err != nil {
		return err
	}
	client, err := control.Dial(ctx, c.Home)
	if err == nil {
		return errors.Join(app.Hint(errors.New("the node of this home is running"), "stop it first"), client.Close())
	}
	if !errors.Is(err, control.ErrNoNode) {
		return app.Failed(err)
	}
	if !slices.Contains(c.IPNI.Roles, indexer.RoleStore) || !backends.Shared(c.IPNI.State) {
		return app.Hint(errors.New("this home has no part of an index of several nodes"), "set ipni.state, and the role store in ipni.roles")
	}
	c.IPNI.Roles, c.P2P.Listen, c.Mirror.Store = []string{indexer.RoleStore}, nil, ""
	return a.WithStores(ctx, c, func(s *node.Stores) (err error) {
		ix, err := indexer.Open(ctx, c, indexer.Node{Keys: s.KV, Version: app.Version()})
		if err != nil {
			return app.Failed(err)
		}
		defer func() { err = errors.Join(err, ix.Close()) }()
		return app.Failed(ix.Found(ctx))
	})
}
