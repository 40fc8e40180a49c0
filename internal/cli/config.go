package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/internal/config"
)

func (a *app) initCommand() *cobra.Command {
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
			home, err := config.HomeDir(a.home, a.Environ)
			if err != nil {
				return usage(err)
			}
			return failed(a.init(home))
		},
	}
}

func (a *app) init(home string) error {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	name := filepath.Join(home, config.FileName)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		a.notef("it exists and was kept")
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
	a.notef("next: hashstream add PATH, then hashstream serve")
	_, err = fmt.Fprintln(a.Out, name)
	return err
}

func (a *app) configCommand() *cobra.Command {
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
			c, err := a.config(nil)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(c)
			}
			_, err = fmt.Fprint(a.Out, c.Describe())
			return err
		},
	}
	check.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return group("config", "Look at the configuration", check)
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: `  hashstream version`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.printJSON(map[string]string{"version": version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintln(a.Out, "hashstream", version())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the Go version and the platform")
	return cmd
}

// version is what the Go toolchain recorded of the source.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// printJSON prints v as one line of JSON.
func (a *app) printJSON(v any) error { return json.NewEncoder(a.Out).Encode(v) }
