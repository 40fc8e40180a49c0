package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// serverScripts start the real servers that the project's tests use, too.
const serverScripts = "../scripts/servers"

// kit is a server of scripts/servers with an empty state of its own.
type kit struct {
	*server
	url string // with credentials: never to be printed
	dir string
}

// startKit installs, if need be, and starts the server of a kind, with its state below dir.
func startKit(ctx context.Context, name, dir string) (*kit, error) {
	script, err := filepath.Abs(filepath.Join(serverScripts, name))
	if err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, script, "install").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("install %s: %w: %s", name, err, lastLine(out))
	}
	k := &kit{}
	if k.dir, err = os.MkdirTemp(dir, "hashstream-bench-"+name+"-"); err != nil {
		return nil, err
	}
	if err = os.Chmod(k.dir, 0o755); err == nil { // a server may drop root
		k.server, err = startServer(ctx, nil, script, k.dir)
	}
	if err != nil {
		os.RemoveAll(k.dir)
		return nil, err
	}
	k.url = k.server.line
	return k, nil
}

func (k *kit) close() {
	k.stop()
	os.RemoveAll(k.dir)
}
