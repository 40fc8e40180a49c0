package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"path/filepath"

	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

// recordsServe is a child that serves a store of the provider index and nothing else.
func recordsServe(args []string) error {
	flags := flag.NewFlagSet("records-serve", flag.ContinueOnError)
	dir := flags.String("dir", "", "`folder` of the store")
	memory := flags.Int64("memory", 256*mib, "bytes of tables")
	if err := flags.Parse(args); err != nil {
		return err
	}
	relaxGC()
	values, err := segstore.Open(filepath.Join(*dir, "values"), &segstore.Options{Memory: *memory})
	if err != nil {
		return err
	}
	rows, err := pebblekv.Open(filepath.Join(*dir, "rows"), nil)
	if err != nil {
		return err
	}
	s, err := store.Open(context.Background(), values, rows, nil)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, storehttp.New(s, &storehttp.Options{
		Authorize: func(*http.Request) error { return nil },
		Reads:     ipnihttp.New(ipnihttp.Index{Sealed: s}, nil),
	}))
}
