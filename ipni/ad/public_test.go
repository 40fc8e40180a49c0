package ad_test

import (
	"net/netip"
	"testing"

	"github.com/hashstream/hashstream/ipni/ad"
)

func TestPublic(t *testing.T) {
	for _, text := range []string{"8.8.8.8", "1.1.1.1", "::ffff:8.8.8.8", "2a00:1450:400e:80d::200e", "64:ff9b::8.8.8.8", "2606:4700::1111"} {
		if !ad.Public(netip.MustParseAddr(text)) {
			t.Errorf("%s is refused", text)
		}
	}
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255",
		"169.254.169.254", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
		"2001:db8::1", "2002:7f00:1::", "2001::1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1",
	} {
		if ad.Public(netip.MustParseAddr(text)) {
			t.Errorf("%s is allowed", text)
		}
	}
	if ad.Public(netip.Addr{}) {
		t.Error("no address is allowed")
	}
}
