package shard

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// Headers of what nodes ask of each other.
const (
	// memberHeader names the node that asks for this one's records. Who does not send it asks the index.
	memberHeader = "Hashstream-Member"
	// toHeader names the node that is asked. Another one that is reached by the same URL must not answer: it would
	// be taken for a second copy.
	toHeader = "Hashstream-To"
)

// reached is a member, and where it is reached.
type reached struct{ id, url string }

// errNowhere is an address by which each node reaches itself.
var errNowhere = fmt.Errorf("shard: shard.listen takes connections for all addresses of this machine, which tells others nothing: set shard.url to the URL by which they reach it: %w", fs.ErrInvalid)

// unspecified reports whether the host of an address stands for all of a machine.
func unspecified(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	addr, err := netip.ParseAddr(host)
	return address != "" && (host == "" || err == nil && addr.Unmap().IsUnspecified())
}

// credentials is what this node shows to another.
func (sh *Shard) credentials(to string) http.Header {
	h := http.Header{memberHeader: {sh.name()}, toHeader: {to}}
	if sh.o.Token != "" {
		h.Set("Authorization", "Bearer "+sh.o.Token)
	}
	return h
}

// authorize lets in who shows the token; without one, who is on this machine.
func (sh *Shard) authorize(r *http.Request) error {
	if sh.o.Token == "" {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		if addr, err := netip.ParseAddr(host); err == nil && addr.IsLoopback() {
			return nil
		}
		return wire.Refuse(http.StatusForbidden, "only this machine may write: shard.token_file is not set")
	}
	shown := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	want := sha256.Sum256([]byte(sh.o.Token))
	if subtle.ConstantTimeCompare(shown[:], want[:]) != 1 {
		return wire.Refuse(http.StatusUnauthorized, "show the token: Authorization: Bearer …")
	}
	return nil
}

// meant returns an error for what another node is to answer.
func (sh *Shard) meant(r *http.Request) error {
	if to := r.Header.Get(toHeader); r.Header.Get(memberHeader) != "" && to != sh.name() {
		return wire.Refuse(http.StatusMisdirectedRequest, "this is the node %q, not %q: each needs a shard.url of its own", sh.name(), to)
	}
	return nil
}

// Handler returns the handler of the listener at shard.listen: other nodes read and write the records of this
// one, everybody else those of all nodes. announces takes announcements that other nodes pass on; nil if this
// node follows nobody.
func (sh *Shard) Handler(announces http.Handler) http.Handler {
	var own, all http.Handler = http.NotFoundHandler(), http.NotFoundHandler()
	o := storehttp.Options{Authorize: sh.authorize, Logger: sh.o.Log, Done: sh.o.Written}
	reads := func(from ipni.SealedReader) http.Handler {
		return ipnihttp.New(ipnihttp.Index{Sealed: from}, &ipnihttp.Options{Version: sh.o.Version, HitAge: -1, MissAge: -1, Logger: sh.o.Log})
	}
	if sh.router != nil {
		o := o
		o.Reads = reads(sh.router)
		all = storehttp.New(sh.router, &o)
	}
	if sh.replica != nil {
		o.Exporter, o.Reads = sh.replica, reads(sh.replica)
		own = storehttp.New(sh.replica, &o)
	}
	if sh.router == nil {
		all = own
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := sh.meant(r)
		announcement := r.URL.Path == "/announce" && announces != nil
		if err == nil && announcement {
			err = sh.authorize(r)
		}
		switch {
		case err != nil:
			wire.WriteError(w, r, wire.StatusOf(err), err, sh.o.Log)
		case announcement:
			announces.ServeHTTP(w, r)
		case r.Header.Get(memberHeader) == "":
			all.ServeHTTP(w, r)
		default:
			own.ServeHTTP(w, r)
		}
	})
}
