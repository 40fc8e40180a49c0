package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/cli/app"
	"github.com/hashstream/hashstream/internal/config"
)

func (a commands) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Create the home directory and a documented configuration file",
		Long: `Init writes hashstream.toml into the home. Every key stands there with its
meaning and default; nothing needs to be changed, and no command needs the file. A
file that exists is kept. It prints the name of the file.`,
		Example: `  hashstream init
  hashstream --home /srv/hashstream init`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			home, err := config.HomeDir(a.Home, a.Environ)
			if err != nil {
				return app.Usage(err)
			}
			return app.Failed(a.init(home))
		},
	}
}

func (a commands) init(home string) error {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	name := filepath.Join(home, config.FileName)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		a.Notef("it exists and was kept")
		_, err = fmt.Fprintln(a.Out, name)
		return err
	}
	if err != nil {
		return err
	}
	_, err = f.Write(config.Template())
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
		return err
	}
	a.Notef("next: hashstream add PATH, then hashstream serve")
	_, err = fmt.Fprintln(a.Out, name)
	return err
}

func (a commands) configCommand() *cobra.Command {
	var asJSON bool
	check := &cobra.Command{
		Use:   "check",
		Short: "Print the configuration that would run, and where each value comes from",
		Long: `Check reads the configuration file, the HASHSTREAM_SECTION_KEY variables of the
environment and prints what they make, without opening anything. A key that does
not exist or a value that cannot be used gives exit code 2.`,
		Example: `  hashstream config check
  HASHSTREAM_GATEWAY_LISTEN=:80 hashstream config check --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.Config(nil)
			if err != nil {
				return err
			}
			if asJSON {
				return a.PrintJSON(c)
			}
			_, err = fmt.Fprint(a.Out, c.Describe())
			return err
		},
	}
	check.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return app.Group("config", "Look at the configuration", check)
}

func (a commands) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: `  hashstream version`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.PrintJSON(map[string]string{"version": app.Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintln(a.Out, "hashstream", app.Version())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the Go version and the platform")
	return cmd
}
