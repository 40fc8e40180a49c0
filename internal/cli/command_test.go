package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/cli/app"
)

func allOf(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		all = append(all, allOf(sub)...)
	}
	return all
}

// Every command says what it is for, and shows uses of it that its own flags allow.
func TestHelp(t *testing.T) {
	for _, cmd := range allOf(newRoot(&app.App{})) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short description %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.HasSubCommands() && cmd.HasParent() {
			continue
		}
		if cmd.Example == "" {
			t.Errorf("%s shows no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			if err := checkExample(cmd, line); err != nil {
				t.Errorf("%s: %q: %v", cmd.CommandPath(), line, err)
			}
		}
	}
}

func checkExample(shown *cobra.Command, line string) error {
	_, line, ok := strings.Cut(line, "hashstream ")
	if !ok {
		return errors.New("no command in it")
	}
	line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), "   ") // what is said about it
	for _, end := range []string{" | ", " > "} {
		line, _, _ = strings.Cut(line, end)
	}
	root := newRoot(&app.App{})
	cmd, args, err := root.Find(strings.Fields(line))
	if err == nil {
		err = cmd.ParseFlags(args)
	}
	if err == nil && cmd.Args != nil {
		err = cmd.Args(cmd, cmd.Flags().Args())
	}
	if err == nil && shown.HasParent() && cmd.CommandPath() != shown.CommandPath() {
		err = fmt.Errorf("it is of %s", cmd.CommandPath())
	}
	return err
}

func TestExitCode(t *testing.T) {
	tests := []struct {
		err    error
		code   int
		advice string // a part of it
	}{
		{nil, 0, ""},
		{errors.New("x"), 1, ""},
		{app.Usagef("x"), 2, "--help"},
		{app.Hint(app.Usagef("x"), "do y"), 2, "do y"},
		{fs.ErrNotExist, 3, ""},
		{app.Absentf("x"), 3, ""},
		{app.Failed(fs.ErrNotExist), 1, ""},
		{app.Hint(app.Failed(fs.ErrNotExist), "do y"), 1, "do y"},
		{fmt.Errorf("x: %w: %w", ingest.ErrChanged, fs.ErrNotExist), 1, ""},
		{digest.ErrMismatch, 4, ""},
		{fmt.Errorf("x: %w: %w", fs.ErrNotExist, digest.ErrMismatch), 4, ""},
		{fetch.ErrIncomplete, 4, ""},
		{car.ErrMalformed, 4, ""},
		{car.ErrTruncated, 4, ""},
		{block.ErrTooLarge, 4, ""},
		{&fs.PathError{Err: syscall.ENOSPC}, 1, "free space"},
		{errors.New("node: no space left on device"), 1, "free space"},
		{&fs.PathError{Err: syscall.EROFS}, 1, "read only"},
		{fs.ErrExist, 1, "--force"},
	}
	for _, tt := range tests {
		if got := app.ExitCode(tt.err); got != tt.code {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.code)
		}
		if tt.err == nil {
			continue
		}
		var out bytes.Buffer
		app.Report(&out, &cobra.Command{Use: "x"}, tt.err)
		first, second, _ := strings.Cut(out.String(), "\n")
		if !strings.HasPrefix(first, "hashstream: ") || !strings.Contains(second, tt.advice) || (tt.advice == "") != (second == "") {
			t.Errorf("%v is reported as %q", tt.err, out.String())
		}
	}
}
