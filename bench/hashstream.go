package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// This file holds all that the program knows of hashstream's command line.

// buildHashstream builds the binary. Without one the column stays empty.
func (b *bench) buildHashstream(ctx context.Context) {
	if b.binary = b.options.binary; b.binary != "" {
		return
	}
	path := filepath.Join(b.work, "hashstream")
	cmd := exec.CommandContext(ctx, "go", "build", "-C", "..", "-o", path, "./cmd/hashstream")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.missing = fmt.Sprintf("hashstream does not build: %v: %s", err, lastLine(out))
		b.logf("%s", b.missing)
		return
	}
	b.binary = path
}

// hashstreamVersion describes what is measured.
func (b *bench) hashstreamVersion(ctx context.Context) string {
	if b.binary == "" {
		return b.missing
	}
	out, _ := exec.CommandContext(ctx, "git", "-C", "..", "describe", "--always", "--dirty").Output()
	return cmp.Or(strings.TrimSpace(string(out)), "unknown")
}

// newHome makes an empty home in dir.
func (b *bench) newHome(ctx context.Context, dir string) (string, error) {
	home, err := os.MkdirTemp(dir, "home-")
	if err != nil {
		return "", err
	}
	_, err = runToEnd(ctx, b.binary, "--home", home, "init")
	return home, err
}

// runHashstreamAdd adds file and returns its root CID as standard output.
func (b *bench) runHashstreamAdd(ctx context.Context, home, file string, leaf int64, env ...string) (finished, error) {
	return runWith(ctx, env, b.binary, "--home", home, "add", "--quiet", "--chunk-size", strconv.FormatInt(leaf, 10), file)
}

// runHashstreamPlace indexes a file or a directory where it is, below one of the roots of
// env.
func (b *bench) runHashstreamPlace(ctx context.Context, home, file string, leaf int64, env ...string) (finished, error) {
	return runWith(ctx, env, b.binary, "--home", home, "add", "--in-place", "--quiet", "--chunk-size", strconv.FormatInt(leaf, 10), file)
}

// runHashstreamBlob indexes a file where it is, as one BLAKE3 block.
func (b *bench) runHashstreamBlob(ctx context.Context, home, file string) (finished, error) {
	return runWith(ctx, []string{rootsAre(filepath.Dir(file))}, b.binary, "--home", home, "add", "--in-place", "--quiet", "--hash", "blake3", file)
}

// runHashstreamScan looks for changes of what is indexed where it is.
func (b *bench) runHashstreamScan(ctx context.Context, home, file string, env ...string) (finished, error) {
	return runWith(ctx, env, b.binary, "--home", home, "scan", "--json", file)
}

// rootsAre permits sources below root.
func rootsAre(root string) string { return "HASHSTREAM_SOURCES_ROOTS=" + root }

// packsAre is where packs are kept instead of the home.
func packsAre(url string) string { return "HASHSTREAM_STORE_PACKS=" + url }

// startHashstream serves home with the default configuration but for the access
// log, which nginx does not write here either. The address that is printed first is
// that of the public listener.
func (b *bench) startHashstream(ctx context.Context, home string, env ...string) (*server, error) {
	return startServer(ctx, append(env, "HASHSTREAM_LOG_ACCESS=false"), b.binary, "--home", home, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
}

// addToHashstream gives d a home that holds it.
func (b *bench) addToHashstream(ctx context.Context, d *dataset) error {
	if b.binary == "" {
		return nil
	}
	home, err := b.newHome(ctx, b.work)
	if err != nil {
		return err
	}
	f, err := b.runHashstreamAdd(ctx, home, d.source, d.leaf)
	if err != nil {
		return err
	}
	if f.stdout != d.root.String() {
		return fmt.Errorf("hashstream add says %q, boxo's importer %s", f.stdout, d.root)
	}
	d.home = home
	return nil
}
