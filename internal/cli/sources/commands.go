// Package sources is the commands that follow content which stays where it is.
package sources

import (
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
)

// commands are the commands of this package.
type commands struct{ *app.App }

// Scan is the command scan.
func Scan(a *app.App) *cobra.Command { return commands{a}.scanCommand() }

// Work is the command pipeline work.
func Work(a *app.App) *cobra.Command { return commands{a}.workCommand() }

// Jobs is the command pipeline status.
func Jobs(a *app.App) *cobra.Command { return commands{a}.jobsCommand() }

// Retry is the command pipeline retry.
func Retry(a *app.App) *cobra.Command { return commands{a}.retryCommand() }
