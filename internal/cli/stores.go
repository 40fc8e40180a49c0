package cli

import (
	"context"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/node"
)

// withHome calls f with the stores of this home.
func (a *app) withHome(ctx context.Context, f func(*node.Stores) error) error {
	c, err := a.config(nil)
	if err != nil {
		return err
	}
	return a.withStores(ctx, c, f)
}

// withStores calls f with the stores of c: directly, or where a node has them, by
// way of that node.
func (a *app) withStores(ctx context.Context, c config.Config, f func(*node.Stores) error) (err error) {
	s, err := node.Open(ctx, c, func(message string) { a.notef("%s", message) })
	if err != nil {
		return failed(err)
	}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	return f(s)
}
