package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain lets the test program be every child: those of the real program, and a
// stand-in for hashstream made of boxo.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		child := childCommands[os.Args[1]]
		if os.Args[1] == "--home" {
			child = fakeHashstream
		}
		if child != nil {
			if err := child(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// fakeHashstream knows: HOME init, HOME add --quiet --chunk-size N FILE, HOME serve….
func fakeHashstream(args []string) error {
	home, command := args[0], args[1]
	switch command {
	case "init":
		return os.WriteFile(filepath.Join(home, "ready"), nil, 0o600)
	case "add":
		if !isFile(filepath.Join(home, "ready")) {
			return errors.New("add before init")
		}
		leaf, err := strconv.ParseInt(args[4], 10, 64)
		if err != nil {
			return err
		}
		d := &dataset{leaf: leaf, source: args[5], carRoot: home}
		err = d.writeCAR(context.Background())
		fmt.Println(d.root)
		return err
	case "serve":
		cars, err := filepath.Glob(filepath.Join(home, "ipfs", "*"))
		return cmp.Or(err, boxoServe(cars))
	}
	return fmt.Errorf("unknown command %s", command)
}

// Every scenario must fill its rows for every system that it
// compares, with answers that hold the right bytes.
func TestScenarios(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		options: options{rounds: 1, threads: 1, bigDir: openDir(t), quick: true}, self: self, binary: self, work: t.TempDir(),
		samples: map[key][]sample{}, datasets: map[int64]*dataset{}, started: time.Now(),
		scale: scale{big: 16 * mib, small: 2 * mib, add: 8 * mib, huge: 8 * mib, records: 2000, files: 1200, pgRecords: 2000, load: 100 * time.Millisecond, slow: 200 * time.Millisecond,
			index: 20_000, memory: 20_000, lookups: 500},
	}
	built := &bench{work: t.TempDir(), started: time.Now()}
	build := sync.OnceFunc(func() { built.buildHashstream(t.Context()) })
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			b := b
			if s.real {
				if build(); built.binary == "" { // what its stand-in does not do
					t.Fatal(built.missing)
				}
				real := *b
				real.binary, real.datasets = built.binary, map[int64]*dataset{}
				real.work = t.TempDir()
				b = &real
			}
			if err := s.run(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			for _, id := range s.rows {
				r := rows[slices.IndexFunc(rows, func(r row) bool { return r.id == id })]
				if v, ok := b.median(id, sysHashstream); !ok || v <= 0 {
					t.Errorf("row %s: hashstream %v", id, v)
				}
				for _, target := range r.targets {
					if target.against == sysDHStore && toolPath(sysDHStore) == "" {
						continue // as the report says
					}
					if v, ok := b.median(id, cmp.Or(target.against, sysHashstream)); !ok || v <= 0 {
						t.Errorf("row %s: %s %v", id, target.against, v)
					}
				}
			}
		})
	}
}

// openDir returns a folder that a server can enter that runs as another user.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hashstream-bench-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A server whose bytes are not those of the CAR must not be measured.
func TestOtherBytesAreRefused(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		options: options{rounds: 1}, self: self, work: t.TempDir(), samples: map[key][]sample{},
		datasets: map[int64]*dataset{}, scale: scale{big: mib, load: time.Millisecond}, started: time.Now(),
	}
	d, err := b.dataset(t.Context(), 256*kib)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(d.car(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("other"), d.carSize*3/8); err != nil {
		t.Fatal(err)
	}
	if err := wholeCAR(256*kib, "256k")(t.Context(), b); err == nil || !strings.Contains(err.Error(), "other bytes") {
		t.Errorf("changed bytes were measured (%v)", err)
	}
}
