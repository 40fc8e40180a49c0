// Package cli is the hashstream command: it reads arguments, calls the packages
// that do the work, and tells what happened. Results go to standard output,
// everything else to standard error.
//
// # Errors
//
// Every error ends up as one line that begins with "hashstream:", where possible
// with a line that says what to do, and as the exit code of [Run]. Absence is an
// exit code of its own only where it is the answer: a CID that is not stored, or a
// file that was to be read. A directory that cannot be opened for output, a home
// that cannot be made and a node that does not run are plain failures.
package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/cli/content"
	"github.com/hashstream/hashstream/internal/cli/deliver"
	"github.com/hashstream/hashstream/internal/cli/ipni"
	"github.com/hashstream/hashstream/internal/cli/keep"
	"github.com/hashstream/hashstream/internal/cli/lookup"
	"github.com/hashstream/hashstream/internal/cli/migrate"
	"github.com/hashstream/hashstream/internal/cli/sources"
)

// Run carries out the command line args and returns the exit code: 0 done, 1
// failed, 2 wrong usage or configuration, 3 content or input not found, 4 content
// that is corrupt, malformed or incomplete. When ctx ends Run returns soon, also
// from a read of s.In, which may then still be under way.
func Run(ctx context.Context, args []string, s Streams) int {
	root := newRoot(&app.App{Streams: s})
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return app.ExitOK
	}
	if ctx.Err() != nil && !errors.Is(err, app.ErrUsage) {
		err = app.Hint(app.Failed(errors.New("interrupted")), "%s", cmd.Annotations[app.OnInterrupt])
	}
	app.Report(s.Err, cmd, err)
	return app.ExitCode(err)
}

// Streams is what a command reads, writes and is told by the system.
type Streams = app.Streams

// System returns the streams of the process.
func System() Streams { return app.System() }

// commands are the commands of this package.
type commands struct{ *app.App }

func newRoot(a *app.App) *cobra.Command {
	c := commands{a}
	root := &cobra.Command{
		Use:   "hashstream",
		Short: "Store, serve and fetch content by its hash",
		Long: `Hashstream makes files and directories addressable by their hash and serves
them over HTTP in a form that every receiver can verify.`,
		Example: `  hashstream init                      write a documented configuration
  hashstream add photos/               store a directory and print its CID
  hashstream serve                     serve it at http://127.0.0.1:8080
  hashstream get CID -o photos         fetch and verify it, here or anywhere`,
		Version:       app.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          app.NoSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.Flags().Bool("version", false, "print the version")
	flags := root.PersistentFlags()
	flags.StringVar(&a.Home, "home", "", "directory of configuration and embedded stores (default: hashstream in the XDG data directory)")
	flags.StringVar(&a.File, "config", "", "configuration file (default: hashstream.toml in the home)")
	flags.BoolVarP(&a.Verbose, "verbose", "v", false, "tell more on standard error")
	root.AddCommand(c.initCommand(), c.serveCommand(), content.Add(a), sources.Scan(a), deliver.Get(a), deliver.Dump(a),
		app.Group("pack", "Work with packs, the CARs that hold stored blocks",
			content.PackWrite(a), deliver.Extract(a), keep.PackList(a), keep.PackVerify(a), content.PackImport(a), keep.PackClear(a)),
		app.Group("index", "Work with the index, which knows where every block is",
			content.IndexAdd(a), keep.IndexFind(a), keep.IndexStats(a), keep.IndexBackup(a), keep.IndexRestore(a),
			migrate.Import(a), migrate.Export(a), keep.IndexClear(a)),
		app.Group("pipeline", "Hash sources with many machines, and see what failed", sources.Work(a), sources.Jobs(a), sources.Retry(a)),
		lookup.Find(a), ipni.Group(a),
		c.statusCommand(), c.scrubCommand(), c.configCommand(), c.versionCommand())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return app.Usage(err) })
	checkArgs(root)
	return root
}

// checkArgs makes complaints about arguments usage errors, for every command.
func checkArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return app.Usage(err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		checkArgs(sub)
	}
}
