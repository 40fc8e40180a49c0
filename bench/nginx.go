package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

// nginxConfig is what a careful operator writes for large and small immutable
// files: one worker per core, sendfile, open files kept, no access log, long
// connections.
const nginxConfig = `%[1]sdaemon off;
worker_processes %[2]d;
pid %[3]s/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	tcp_nodelay on;
	keepalive_timeout 75s;
	keepalive_requests 1000000000;
	open_file_cache max=100000 inactive=10m;
	open_file_cache_valid 10m;
	open_file_cache_min_uses 1;
	client_body_temp_path %[3]s/body;
	proxy_temp_path %[3]s/proxy;
	fastcgi_temp_path %[3]s/fastcgi;
	uwsgi_temp_path %[3]s/uwsgi;
	scgi_temp_path %[3]s/scgi;
	default_type application/octet-stream;
	server {
		listen %[4]s;
		root %[5]s;
	}
}
`

// startNginx serves the files below root.
func (b *bench) startNginx(ctx context.Context, root string) (*server, error) {
	dir, err := os.MkdirTemp(b.work, "nginx-")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(nginxConfig, nginxUser(), cores(), dir, addr, root)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	s, err := spawn(nil, nil, toolPath("nginx"), "-p", dir, "-e", "stderr", "-c", config)
	if err != nil {
		return nil, err
	}
	s.addr = addr
	return s, s.ready(ctx)
}

// nginxUser keeps nginx from changing to a user that cannot read the data.
func nginxUser() string {
	u, err := user.Current()
	if err != nil || u.Uid != "0" {
		return ""
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		return ""
	}
	return strings.Join([]string{"user", u.Username, g.Name}, " ") + ";\n"
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
