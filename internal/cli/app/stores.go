package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/node"
)

// WithHome calls f with the stores of this home.
func (a *App) WithHome(ctx context.Context, f func(*node.Stores) error) error {
	c, err := a.Config(nil)
	if err != nil {
		return err
	}
	return a.WithStores(ctx, c, f)
}

// WithStores calls f with the stores of c: directly, or where a node has them, by
// way of that node.
func (a *App) WithStores(ctx context.Context, c config.Config, f func(*node.Stores) error) (err error) {
	s, err := node.Open(ctx, c, func(message string) { a.Notef("%s", message) })
	if err != nil {
		return Failed(err)
	}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	return f(s)
}

// WithRunning calls f with the node of this home, which must run.
func (a *App) WithRunning(ctx context.Context, f func(*control.Client) error) error {
	c, err := a.Config(nil)
	if err != nil {
		return err
	}
	client, err := Dial(ctx, c.Home, "start one with 'hashstream serve'")
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

// Dial connects to the node of home.
func Dial(ctx context.Context, home, advice string) (*control.Client, error) {
	client, err := control.Dial(ctx, home)
	if errors.Is(err, control.ErrNoNode) {
		err = Hint(fmt.Errorf("no node is running in %s", home), "%s", advice)
	}
	return client, Failed(err)
}
