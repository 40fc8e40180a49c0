// Package config reads what a node and its commands are told: built-in
// defaults, then the file hashstream.toml, then the environment
// (HASHSTREAM_SECTION_KEY), then command-line overrides. The later wins.
//
// Nothing is required: without file and environment, [Load] gives a
// configuration that serves embedded storage below the home directory to this
// machine alone. No other package reads files, flags or environment for
// settings; they take Go values.
//
// The format is TOML 1.0 (https://toml.io). Every key, its meaning and its
// default stand in the file that [Template] returns; the text comes from the
// comments on the fields of [Config], and a test keeps the two equal.
//
// # Errors
//
// All problems are reported at once, one per line, each with the key and where
// it was set: file and line, variable or option. An unknown key names the
// nearest valid one. They match [ErrInvalid]; a named file that is absent
// matches [io/fs.ErrNotExist].
//
// A Config is a value; it is safe for concurrent reads.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrInvalid reports a configuration that cannot be used as it is.
var ErrInvalid = errors.New("invalid configuration")

// FileName is the configuration file's name in the home directory.
const FileName = "hashstream.toml"

// maxFile bounds the configuration file, in bytes.
const maxFile = 1 << 20

// Config is everything that can be configured, a section per field.
type Config struct {
	// Home is the absolute directory that relative paths start from. It is not a
	// key of the file: it says where the file is.
	Home string `toml:"-"`
	// File is the file that was read, or empty.
	File string `toml:"-"`

	Store    Store    `toml:"store"`
	Add      Add      `toml:"add"`
	Sources  Sources  `toml:"sources"`
	Pipeline Pipeline `toml:"pipeline"`
	Gateway  Gateway  `toml:"gateway"`
	Admin    Admin    `toml:"admin"`
	Verify   Verify   `toml:"verify"`
	Scrub    Scrub    `toml:"scrub"`
	Cache    Cache    `toml:"cache"`
	IPNI     IPNI     `toml:"ipni"`
	Ingest   Ingest   `toml:"ingest"`
	Find     Find     `toml:"find"`
	Shard    Shard    `toml:"shard"`
	Mirror   Mirror   `toml:"mirror"`
	Publish  Publish  `toml:"publish"`
	P2P      P2P      `toml:"p2p"`
	Log      Log      `toml:"log"`
	Trace    Trace    `toml:"trace"`

	origins map[string]string // key to where it was set; absent: default
}

// Default returns the configuration of a node with the given home and nothing set.
func Default(home string) Config {
	return Config{
		Home:     home,
		Store:    Store{Packs: "file:packs", Index: "pebble:index"},
		Add:      Add{Profile: "unixfs-v1-2025", PackSize: 128 << 20, Index: "all"},
		Sources:  Sources{Roots: []string{}},
		Pipeline: Pipeline{Queue: "mem:"},
		Gateway: Gateway{
			Listen:          "127.0.0.1:8080",
			MaxConcurrent:   1024,
			Burst:           200,
			TrustedProxies:  []string{},
			HeaderTimeout:   Duration(10 * time.Second),
			IdleTimeout:     Duration(2 * time.Minute),
			StallTimeout:    Duration(30 * time.Second),
			ShutdownTimeout: Duration(30 * time.Second),
		},
		Admin:  Admin{Listen: "127.0.0.1:5080"},
		Verify: Verify{Mode: "once"},
		Scrub:  Scrub{Enabled: true, Rate: 16 << 20, Interval: Duration(7 * 24 * time.Hour)},
		Cache:  Cache{Index: 32 << 20, Plans: 16 << 20, Blocks: 16 << 20, DiskDir: "cache"},
		IPNI:   IPNI{Roles: []string{}, Values: "segments:ipni", Mode: "sealed", Memory: 256 << 20, Key: "identity.key"},
		Ingest: Ingest{Publishers: "any", PublishFor: "own", Workers: 4, FreezeAt: 90, Poll: Duration(24 * time.Hour), GossipPeers: []string{}},
		Find: Find{
			TTL: Duration(5 * time.Minute), NegativeTTL: Duration(10 * time.Second), Indexers: []string{}, Cascade: []string{},
			CompareShare: 0.01, CompareInterval: Duration(time.Hour),
		},
		Shard:   Shard{Replicas: 2, Weight: 100, RebalanceRate: 64 << 20},
		Mirror:  Mirror{Write: true, Read: "publisher"},
		Publish: Publish{Store: "file:advertisements", Announce: []string{}, Addresses: []string{}, Interval: Duration(time.Minute)},
		P2P:     P2P{Listen: []string{}},
		Log:     Log{Level: "info", Format: "json", Access: true},
		Trace:   Trace{SampleRatio: 1},
	}
}

// Load returns the configuration of the node in home, or in [HomeDir] if home is
// empty. file names the file to read; if it is empty, HASHSTREAM_CONFIG does, or
// else hashstream.toml in the home is read if it is there. environ is
// in the form of [os.Environ]. The keys of overrides are written "section.key";
// they come from the command line and win.
func Load(home, file string, environ []string, overrides map[string]string) (Config, error) {
	home, err := HomeDir(home, environ)
	if err != nil {
		return Config{}, err
	}
	c := Default(home)
	c.origins = map[string]string{}
	var all []setting
	var problems []error
	for _, read := range []func() ([]setting, error){
		func() ([]setting, error) { return c.fromFile(file, lookup(environ, "HASHSTREAM_CONFIG")) },
		func() ([]setting, error) { return fromEnviron(environ) },
		func() ([]setting, error) { return fromOverrides(overrides) },
	} {
		settings, err := read()
		all = append(all, settings...)
		problems = append(problems, err)
	}
	problems = append(problems, c.apply(all), c.validate())
	if err := errors.Join(problems...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// fromFile finds the file and reads its settings.
func (c *Config) fromFile(file, fromEnv string) ([]setting, error) {
	required := true
	if file == "" {
		file = fromEnv
	}
	if file == "" {
		file, required = filepath.Join(c.Home, FileName), false
	}
	data, err := readFile(file)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("config: read file: %w", err)
	}
	c.File = file
	return parse(file, data)
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read: %w", name, info.Size(), maxFile, ErrInvalid)
	}
	return os.ReadFile(name)
}

// HomeDir returns home as an absolute path. If it is empty, it is
// HASHSTREAM_HOME, or else hashstream in the XDG data directory.
func HomeDir(home string, environ []string) (string, error) {
	if home == "" {
		home = lookup(environ, "HASHSTREAM_HOME")
	}
	// The XDG specification says that a relative path is to be ignored.
	if data := lookup(environ, "XDG_DATA_HOME"); home == "" && filepath.IsAbs(data) {
		home = filepath.Join(data, "hashstream")
	}
	if user := lookup(environ, "HOME"); home == "" && user != "" {
		home = filepath.Join(user, ".local", "share", "hashstream")
	}
	if home == "" {
		return "", fmt.Errorf("config: no home directory: set HOME, XDG_DATA_HOME or HASHSTREAM_HOME, or use --home: %w", ErrInvalid)
	}
	home, err := filepath.Abs(home)
	if err != nil {
		return "", fmt.Errorf("config: home directory: %w", err)
	}
	return home, nil
}

// lookup returns the last value of name in environ.
func lookup(environ []string, name string) (value string) {
	for _, pair := range environ {
		if k, v, _ := strings.Cut(pair, "="); k == name {
			value = v
		}
	}
	return value
}
