// Package filter chooses among the peers of an answer of Delegated Routing, and among their
// addresses, as [IPIP-484] has it.
//
// # Errors
//
// [Parse] returns an error for what is beyond the limits, which names the parameter.
//
// A [Filter] is a value that nobody writes; a [Chooser] is safe for concurrent use.
//
// [IPIP-484]: https://specs.ipfs.tech/ipips/ipip-0484/
package filter

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/multiformats/go-multiaddr"
)

// Limits of a filter.
const (
	maxNames = 64 // of a parameter
	maxName  = 63 // bytes, by the specification
)

// unknown is the name that stands for peers of which addresses, or protocols, are not known.
const unknown = "unknown"

// The parameters of filters.
const (
	paramAddrs     = "filter-addrs"
	paramProtocols = "filter-protocols"
)

// Filter is what a client wants to be told. Names are compared without regard to case. The
// zero value lets everything pass.
type Filter struct {
	// Addrs are names of protocols of multiaddrs. An address is told if it has one of the
	// names, or if there are none, and no name that stands behind an exclamation mark. A peer
	// that is left without an address is not told, unless none was known and the name
	// "unknown" is there.
	Addrs []string
	// Protocols are names of transfer protocols. A peer is told, with all of its protocols, if
	// it has one of them, or if none is known and the name "unknown" is there.
	Protocols []string
}

// Parse reads the parameters filter-addrs and filter-protocols: lists separated by
// commas. Empty names are skipped.
func Parse(query url.Values) (Filter, error) {
	addrs, err := parseNames(paramAddrs, query[paramAddrs])
	if err != nil {
		return Filter{}, err
	}
	protocols, err := parseNames(paramProtocols, query[paramProtocols])
	return Filter{addrs, protocols}, err
}

func parseNames(param string, values []string) (names []string, err error) {
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			switch {
			case name == "" || slices.Contains(names, name):
				continue
			case len(strings.TrimPrefix(name, "!")) > maxName:
				return nil, fmt.Errorf("%s: a name of more than %d bytes", param, maxName)
			case len(names) == maxNames:
				return nil, fmt.Errorf("%s: more than %d names", param, maxNames)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// Query writes the parameters, sorted, so that equal filters are equal URLs for caches.
func (f Filter) Query() string {
	var params []string
	for _, p := range []struct {
		name  string
		names []string
	}{{paramAddrs, f.Addrs}, {paramProtocols, f.Protocols}} {
		if len(p.names) == 0 {
			continue
		}
		var escaped []string
		for _, name := range p.names {
			escaped = append(escaped, url.QueryEscape(strings.ToLower(name)))
		}
		slices.Sort(escaped)
		params = append(params, p.name+"="+strings.Join(slices.Compact(escaped), ","))
	}
	return strings.Join(params, "&")
}

// Chooser is a filter that is ready to be applied. Use [Filter.Chooser].
type Chooser struct {
	addrs, protocols     bool // whether there is a filter
	with, without        []int
	noAddrs, noProtocols bool // let pass what is not known
	positive             bool // some name demands something of an address
	transfer             []string
}

// Chooser returns f, ready to be applied.
func (f Filter) Chooser() *Chooser {
	c := &Chooser{addrs: len(f.Addrs) > 0, protocols: len(f.Protocols) > 0}
	for _, name := range f.Addrs {
		name = strings.ToLower(name)
		bare, negative := strings.CutPrefix(name, "!")
		code := multiaddr.ProtocolWithName(bare).Code // 0 of a name that no address has
		switch {
		case negative && code != 0:
			c.without = append(c.without, code)
		case negative:
		case name == unknown:
			c.noAddrs, c.positive = true, true
		default:
			c.positive = true
			if code != 0 {
				c.with = append(c.with, code)
			}
		}
	}
	for _, name := range f.Protocols {
		if name = strings.ToLower(name); name == unknown {
			c.noProtocols = true
		}
		c.transfer = append(c.transfer, name)
	}
	return c
}

// passes reports whether an address is to be told.
func (c *Chooser) passes(addr multiaddr.Multiaddr) bool {
	if !c.addrs {
		return true
	}
	wanted := !c.positive
	for _, part := range addr {
		code := part.Protocol().Code
		if slices.Contains(c.without, code) {
			return false
		}
		wanted = wanted || slices.Contains(c.with, code)
	}
	return wanted
}

// Choose returns the addresses of a peer to be told, and whether the peer is.
func (c *Chooser) Choose(addrs []multiaddr.Multiaddr, protocols []string) ([]multiaddr.Multiaddr, bool) {
	if !c.speaks(protocols) {
		return nil, false
	}
	if !c.addrs || len(addrs) == 0 {
		return addrs, !c.addrs || c.noAddrs
	}
	var told []multiaddr.Multiaddr
	for _, a := range addrs {
		if c.passes(a) {
			told = append(told, a)
		}
	}
	return told, len(told) > 0
}

// speaks reports whether a peer has one of the protocols.
func (c *Chooser) speaks(protocols []string) bool {
	if !c.protocols || len(protocols) == 0 && c.noProtocols {
		return true
	}
	return slices.ContainsFunc(protocols, func(has string) bool { return slices.Contains(c.transfer, strings.ToLower(has)) })
}
