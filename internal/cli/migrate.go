package cli

import (
	"context"

	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/cli/migrate"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
)

// migration is what the commands that import and export indexes use of this one.
func migration(a *app.App) *migrate.App {
	return &migrate.App{
		Out: a.Out, Note: a.Notef, JSON: a.PrintJSON, Usage: app.Usage,
		Hint: func(err error, advice string) error { return app.Hint(err, "%s", advice) },
		Stores: func(ctx context.Context, overrides map[string]string, f func(config.Config, *node.Stores) error) error {
			c, err := a.Config(overrides)
			if err != nil {
				return err
			}
			return a.WithStores(ctx, c, func(s *node.Stores) error { return f(c, s) })
		},
	}
}
