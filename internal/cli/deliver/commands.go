// Package deliver is the commands that write content out, verified.
package deliver

import (
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
)

// commands are the commands of this package.
type commands struct{ *app.App }

// Get is the command get.
func Get(a *app.App) *cobra.Command { return commands{a}.getCommand() }

// Dump is the command dump.
func Dump(a *app.App) *cobra.Command { return commands{a}.dumpCommand() }

// Extract is the command pack extract.
func Extract(a *app.App) *cobra.Command { return commands{a}.packExtract() }
