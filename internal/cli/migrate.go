package cli

import (
	"context"

	"github.com/hashstream/hashstream/internal/cli/migrate"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
)

// migration is what the commands that import and export indexes use of this one.
func (a *app) migration() *migrate.App {
	return &migrate.App{
		Out: a.Out, Note: a.notef, JSON: a.printJSON, Usage: usage,
		Hint: func(err error, advice string) error { return hint(err, "%s", advice) },
		Stores: func(ctx context.Context, overrides map[string]string, f func(config.Config, *node.Stores) error) error {
			c, err := a.config(overrides)
			if err != nil {
				return err
			}
			return a.withStores(ctx, c, func(s *node.Stores) error { return f(c, s) })
		},
	}
}
