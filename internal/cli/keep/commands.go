// Package keep is the commands that look after packs and the index.
package keep

import (
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
)

// commands are the commands of this package.
type commands struct{ *app.App }

// PackList is the command pack list.
func PackList(a *app.App) *cobra.Command { return commands{a}.packList() }

// PackVerify is the command pack verify.
func PackVerify(a *app.App) *cobra.Command { return commands{a}.packVerify() }

// PackClear is the command pack clear.
func PackClear(a *app.App) *cobra.Command { return commands{a}.packClear() }

// IndexFind is the command index find.
func IndexFind(a *app.App) *cobra.Command { return commands{a}.indexFind() }

// IndexStats is the command index stats.
func IndexStats(a *app.App) *cobra.Command { return commands{a}.indexStats() }

// IndexClear is the command index clear.
func IndexClear(a *app.App) *cobra.Command { return commands{a}.indexClear() }

// IndexBackup is the command index backup.
func IndexBackup(a *app.App) *cobra.Command { return commands{a}.indexBackup() }

// IndexRestore is the command index restore.
func IndexRestore(a *app.App) *cobra.Command { return commands{a}.indexRestore() }
