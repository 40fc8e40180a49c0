package settings

import "github.com/multiformats/go-multiaddr"

// AddrBytes returns the bytes of addresses.
func AddrBytes(addrs []multiaddr.Multiaddr) [][]byte {
	var out [][]byte
	for _, a := range addrs {
		out = append(out, a.Bytes())
	}
	return out
}

// ParseAddrs returns the addresses of bytes that are some.
func ParseAddrs(addrs [][]byte) []multiaddr.Multiaddr {
	var out []multiaddr.Multiaddr
	for _, b := range addrs {
		if a, err := multiaddr.NewMultiaddrBytes(b); err == nil {
			out = append(out, a)
		}
	}
	return out
}
