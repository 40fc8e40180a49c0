package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/ingest"
)

func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		all = append(all, commands(sub)...)
	}
	return all
}

// Every command says what it is for, and shows uses of it that its own flags allow.
func TestHelp(t *testing.T) {
	for _, cmd := range commands((&app{}).root()) {
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
	root := (&app{}).root()
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
		{usagef("x"), 2, "--help"},
		{hint(usagef("x"), "do y"), 2, "do y"},
		{fs.ErrNotExist, 3, ""},
		{absentf("x"), 3, ""},
		{failed(fs.ErrNotExist), 1, ""},
		{hint(failed(fs.ErrNotExist), "do y"), 1, "do y"},
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
		if got := exitCode(tt.err); got != tt.code {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.code)
		}
		if tt.err == nil {
			continue
		}
		var out bytes.Buffer
		report(&out, &cobra.Command{Use: "x"}, tt.err)
		first, second, _ := strings.Cut(out.String(), "\n")
		if !strings.HasPrefix(first, "hashstream: ") || !strings.Contains(second, tt.advice) || (tt.advice == "") != (second == "") {
			t.Errorf("%v is reported as %q", tt.err, out.String())
		}
	}
}

func TestParseTarget(t *testing.T) {
	const c = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
	tests := []struct {
		in   string
		path []string
		ok   bool
	}{
		{c, nil, true},
		{c + "/", nil, true},
		{"/ipfs/" + c + "/a/b", []string{"a", "b"}, true},
		{"ipfs://" + c + "/a%20b//c%2Fd", []string{"a b", "c/d"}, true},
		{c + "/a%20b", []string{"a%20b"}, true},
		{c + "/..", []string{".."}, true},
		{"ipfs://" + c + "/%zz", nil, false},
		{"", nil, false},
		{"/", nil, false},
		{"ipfs://", nil, false},
		{c + "x", nil, false},
	}
	for _, tt := range tests {
		sel, err := parseTarget(tt.in)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, errUsage) {
			t.Errorf("%q: error %v", tt.in, err)
		}
		if err == nil && (sel.Root.String() != c || !cmp.Equal(sel.Path, tt.path)) {
			t.Errorf("%q: %s %q", tt.in, sel.Root, sel.Path)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("ipfs://bafkqaaa/a%2f/b")
	f.Add("/ipfs/bafkqaaa//")
	f.Add("ipfs://bafkqaaa/%2f")
	f.Add("bafkqaaa/..")
	f.Fuzz(func(t *testing.T, s string) {
		sel, err := parseTarget(s)
		if err != nil {
			return
		}
		// What is made of it by default is a name in the current directory.
		for _, name := range []string{defaultName(sel), defaultName(sel) + ".car"} {
			if strings.Contains(name, "/") || !filepath.IsLocal(name) || name == "." {
				t.Errorf("%q is written to %q", s, name)
			}
		}
	})
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:8080": "http://127.0.0.1:8080",
		"http://[::]:80":        "http://127.0.0.1:80",
		"https://0.0.0.0:443":   "https://127.0.0.1:443",
		"http://10.0.0.7:1":     "http://10.0.0.7:1",
	} {
		if got := reachable(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// Elsewhere than on a terminal, a line tells now and then how far the work is.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := &app{Streams: Streams{Err: &out}}
		p := a.progress("added", false)
		p.Expect(4 << 20)
		for range 5 {
			time.Sleep(6 * time.Second)
			p.Add(1 << 20) // the fifth time more than there is
		}
		p.Stop()
		p.Stop()
		p.Add(1)
		want := "added 2.0 MiB of 4.0 MiB (50 %), 170.7 KiB/s\nadded 4.0 MiB of 4.0 MiB (100 %), 170.7 KiB/s\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(diff)
		}
		out.Reset()
		q := a.progress("added", true)
		time.Sleep(time.Hour)
		q.Add(1)
		unknown := a.progress("read", false)
		time.Sleep(10 * time.Second)
		unknown.Add(1024)
		if got := out.String(); got != "read 1.0 KiB, 102 B/s\n" {
			t.Errorf("printed %q", got)
		}
	})
}

// A read that nobody ends does not keep the command.
func TestStdinEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := &app{Streams: Streams{In: blocking{}}}
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := a.stdin(ctx).Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type blocking struct{}

func (blocking) Read([]byte) (int, error) { select {} }
