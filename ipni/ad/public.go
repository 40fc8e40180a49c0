package ad

import (
	"errors"
	"net/netip"
	"slices"

	manet "github.com/multiformats/go-multiaddr/net"
)

// ErrPrivate reports an address that must not be dialed because it is not of the public
// internet: see [Public].
var ErrPrivate = errors.New("the address is not public")

// Public reports whether an IP address is one of the public internet, which a stranger
// may name: not of this machine, of its networks (the metadata services of clouds among
// them), of carriers, of documentation, nor one that leads to such through a translation.
func Public(ip netip.Addr) bool {
	if ip = ip.Unmap(); ip.Zone() != "" || !ip.IsGlobalUnicast() {
		return false
	}
	if nat64 := netip.PrefixFrom(netip.AddrFrom16([16]byte{1: 0x64, 2: 0xff, 3: 0x9b}), 96); nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	within := func(prefix string) bool { return netip.MustParsePrefix(prefix).Contains(ip) }
	if slices.ContainsFunc([]string{"64:ff9b:1::/48", "2001::/23", "2002::/16", "192.0.0.0/24"}, within) {
		return false // translations of the site's own, tunnels, and assignments for protocols
	}
	a, err := manet.FromIP(ip.AsSlice())
	return err == nil && manet.IsPublicAddr(a)
}
