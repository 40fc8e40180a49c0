package ad

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"

	"github.com/ipni/go-libipni/maurl"
	"github.com/multiformats/go-multiaddr"
)

// URL returns the base URL that an address of HTTP stands for: an IP address or name,
// a port, /http, /https or /tls/http, and at most a path (/http-path, or the older
// /httpath). A peer id at the end is left out. Other addresses are an error.
func URL(a multiaddr.Multiaddr) (*url.URL, error) {
	u, err := toURL(a)
	if err != nil {
		return nil, refuse(fmt.Sprintf("address %s", a), err)
	}
	return u, nil
}

func toURL(a multiaddr.Multiaddr) (*url.URL, error) {
	if len(a) == 0 {
		return nil, errors.New("empty")
	}
	isHTTP := func(c multiaddr.Component) bool {
		return c.Code() == multiaddr.P_HTTP || c.Code() == multiaddr.P_HTTPS
	}
	if !slices.ContainsFunc(a, isHTTP) {
		return nil, errors.New("not of HTTP")
	}
	if slices.ContainsFunc(a, func(c multiaddr.Component) bool { return c.Code() == multiaddr.P_CIRCUIT }) {
		return nil, errors.New("goes through a relay")
	}
	u, err := maurl.ToURL(a)
	if err != nil {
		return nil, err
	}
	if u.Hostname() == "" {
		return nil, errors.New("no host")
	}
	for _, c := range a { // whose text is escaped otherwise than the library unescapes it
		if c.Code() == multiaddr.P_HTTP_PATH {
			u.Path = string(c.RawValue())
		}
	}
	if u.Path != "" && u.Path[0] != '/' {
		u.Path = "/" + u.Path
	}
	return u, nil
}

// Addr returns the address that a base URL of HTTP stands for: the inverse of [URL].
func Addr(u *url.URL) (multiaddr.Multiaddr, error) {
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, refuse("address of URL", errors.New("want http or https, and a host"))
	}
	full := url.URL{Scheme: u.Scheme, Host: u.Host} // no user, no query
	if full.Port() == "" {
		port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
		full.Host = net.JoinHostPort(full.Hostname(), port)
	}
	a, err := maurl.FromURL(&full)
	if err != nil {
		return nil, refuse("address of URL", err)
	}
	if u.Path == "" || u.Path == "/" {
		return a, nil
	}
	path, err := multiaddr.NewComponent("http-path", url.QueryEscape(u.Path))
	if err != nil {
		return nil, refuse("address of URL", err)
	}
	return append(a, *path), nil
}
