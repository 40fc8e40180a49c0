// Package content is the commands that bring content in, by copying it or where it is.
package content

import (
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
)

// commands are the commands of this package.
type commands struct{ *app.App }

// Add is the command add.
func Add(a *app.App) *cobra.Command { return commands{a}.addCommand() }

// PackWrite is the command pack write.
func PackWrite(a *app.App) *cobra.Command { return commands{a}.packWrite() }

// PackImport is the command pack import.
func PackImport(a *app.App) *cobra.Command { return commands{a}.packImport() }

// IndexAdd is the command index add.
func IndexAdd(a *app.App) *cobra.Command { return commands{a}.indexAdd() }
