package gateway

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNegotiate(t *testing.T) {
	// A: by Accept. L: by the URL, but Accept says something else or more.
	raw := choice{variant{FormatRaw, false}, false, false}
	rawA := choice{variant{FormatRaw, false}, true, true}
	rawL := choice{variant{FormatRaw, false}, false, true}
	car := choice{variant{FormatCAR, false}, false, false}
	carA := choice{variant{FormatCAR, false}, true, true}
	carL := choice{variant{FormatCAR, false}, false, true}
	dups := choice{variant{FormatCAR, true}, false, false}
	dupsA := choice{variant{FormatCAR, true}, true, true}
	for _, c := range []struct {
		query, accept string
		path          bool
		want          choice
		status        int
	}{
		{"format=raw", "", false, raw, 200},
		{"format=car", "", false, car, 200},
		{"format=car&car-dups=y", "", false, dups, 200},
		{"format=raw&format=car", "", false, raw, 200},
		{"format=&format=car", "", false, car, 200},
		{"format=car", "*/*", false, car, 200},
		{"format=car", typeRaw, false, carL, 200},
		{"format=raw", typeCAR, false, rawL, 200},
		{"format=raw", typeRaw, false, raw, 200},
		{"format=car", typeCAR, false, car, 200},
		{"format=car", typeCAR + ";version=1", false, carA, 200},
		{"format=car", typeCAR + ";order=dfs", false, carA, 200},
		{"format=car", typeCAR + ";dups=y", false, dupsA, 200},
		{"format=car&car-dups=n", typeCAR + ";dups=y", false, carL, 200},
		{"format=car&car-dups=n", typeCAR + ";dups=y;order=unk", false, carA, 200},
		{"format=car", typeCAR + ";q=0", false, carL, 200},
		{"format=car", typeCAR + ";version=2", false, choice{}, 406},
		{"format=car&car-version=1", typeCAR + ";version=2", false, carL, 200},
		{"format=car&car-version=2", "", false, choice{}, 400},
		{"format=car&car-order=bfs", "", false, choice{}, 400},
		{"format=car&car-order=unk", "", false, car, 200},
		{"format=car&car-dups=maybe", "", false, choice{}, 400},
		{"format=raw&car-dups=maybe", "", false, raw, 200},
		{"format=tar", typeCAR, false, choice{}, 406},
		{"format=nonsense", "", false, choice{}, 400},
		{"format=ipns-record", "", false, choice{}, 400},

		{"", "", false, choice{}, 406},
		{"", "*/*", false, choice{}, 406},
		{"", "text/html, */*;q=0.8", false, choice{}, 406},
		{"", "application/*", false, rawA, 200},
		{"", "application/*", true, carA, 200},
		{"", typeRaw, false, rawA, 200},
		{"", typeRaw, true, rawA, 200}, // refused later, with a better sentence
		{"", typeRaw + ", " + typeCAR, true, carA, 200},
		{"", "APPLICATION/VND.IPLD.CAR; DUPS=y", false, dupsA, 200},
		{"", typeCAR + `; dups="y"; order="d\fs"`, false, dupsA, 200},
		{"", typeRaw + ", " + typeCAR, false, rawA, 200},
		{"", typeCAR + ", " + typeRaw, false, carA, 200},
		{"", typeCAR + ";q=0.2, " + typeRaw + ";q=0.1", false, carA, 200},
		{"", typeCAR + ";q=0.2, " + typeRaw + ";q=0.21", false, rawA, 200},
		{"", typeRaw + ";q=0, application/*;q=0.1", false, carA, 200},
		{"", typeRaw + ";q=0", false, choice{}, 406},
		{"", "application/*, " + typeCAR, false, carA, 200},
		{"", typeCAR + ";dups=y;q=0, " + typeCAR, false, carA, 200},
		{"", typeCAR + ";dups=n;q=0, " + typeCAR, false, dupsA, 200},
		{"", typeCAR + ";dups=y, " + typeCAR + ";q=0.9", false, dupsA, 200},
		{"", typeCAR + ";order=foo, " + typeCAR + ";order=dfs;dups=y;q=0.5", false, dupsA, 200},
		{"", typeCAR + ";order=foo", false, choice{}, 406},
		{"", typeCAR + ";dups=maybe", false, choice{}, 406},
		{"", typeCAR + ";version=2", false, choice{}, 406},
		{"", typeCAR + ";version=1;unheard=of", false, carA, 200},
		{"", typeCAR + ";q=1.5", false, choice{}, 406},
		{"", typeCAR + ";q=0.1234", false, choice{}, 406},
		{"", typeCAR + ";q=", false, choice{}, 406},
		{"", typeCAR + ";q=1.000", false, carA, 200},
		{"", `text/plain;x="` + typeCAR + `,` + typeCAR + `"`, false, choice{}, 406},
		{"", typeRecord, false, choice{}, 400},
		{"", strings.Repeat("a/b,", 64) + typeCAR, false, choice{}, 400},
	} {
		p, err := parseParams(c.query)
		if err != nil {
			t.Fatal(err)
		}
		var accept []string
		if c.accept != "" {
			accept = []string{c.accept}
		}
		got, err := negotiate(&p, accept, c.path)
		if status := StatusOf(err); status != c.status || err == nil && got != c.want {
			t.Errorf("%q Accept %q path %v: %+v %d (%v), want %+v %d", c.query, c.accept, c.path, got, status, err, c.want, c.status)
		}
	}
	p := params{}
	if got, err := negotiate(&p, []string{typeRaw + ";q=0.5", typeCAR}, false); err != nil || got != carA {
		t.Errorf("two Accept headers: %+v, %v", got, err)
	}
}

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		path   string
		want   contentPath
		status int
	}{
		{"/ipfs/cid", contentPath{"ipfs", "cid", nil, true}, 200},
		{"/ipfs/cid/", contentPath{"ipfs", "cid", nil, false}, 200},
		{"/ipfs/cid/a//b/", contentPath{"ipfs", "cid", []string{"a", "b"}, false}, 200},
		{"/ipfs/cid/a%2Fb/c", contentPath{"ipfs", "cid", []string{"a/b", "c"}, false}, 200},
		{"/ipfs/cid/%25/%20/%C3%A9", contentPath{"ipfs", "cid", []string{"%", " ", "é"}, false}, 200},
		{"/ipfs/cid/./../x", contentPath{"ipfs", "cid", []string{".", "..", "x"}, false}, 200},
		{"/ipfs/cid/%2e%2e", contentPath{"ipfs", "cid", []string{".."}, false}, 200},
		{"/ipfs/cid/a%00b", contentPath{}, 400},
		{"/ipfs/cid/%FF", contentPath{}, 400},
		{"/ipfs/%FF", contentPath{}, 400},
		{"/ipfs/cid" + strings.Repeat("/a", 8), contentPath{"ipfs", "cid", strings.Split("aaaaaaaa", ""), false}, 200},
		{"/ipfs/cid" + strings.Repeat("/a", 9), contentPath{}, 400},
		{"/ipfs/", contentPath{"ipfs", "", nil, true}, 200},
		{"/ipfs//cid", contentPath{"ipfs", "", []string{"cid"}, false}, 200},
		{"/", contentPath{"", "", nil, true}, 200},
	} {
		u, err := url.ParseRequestURI(c.path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parsePath(u, 8)
		if status := StatusOf(err); status != c.status {
			t.Errorf("%s: %v, want status %d", c.path, err, c.status)
		} else if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(contentPath{})); err == nil && diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.path, diff)
		}
	}
}

func TestParseSpan(t *testing.T) {
	for _, c := range []struct {
		header string
		size   int64
		want   span
		ok     bool
		status int
	}{
		{"bytes=0-0", 10, span{0, 1}, true, 200},
		{"bytes=2-", 10, span{2, 8}, true, 200},
		{"bytes=2-100", 10, span{2, 8}, true, 200},
		{"bytes=-3", 10, span{7, 3}, true, 200},
		{"bytes=-30", 10, span{0, 10}, true, 200},
		{" Bytes = 1-2", 10, span{1, 2}, true, 200},
		{"bytes=10-", 10, span{}, false, 416},
		{"bytes=0-", 0, span{}, false, 416},
		{"bytes=-0", 10, span{}, false, 416},
		{"bytes=-1", 0, span{}, false, 200},
		{"bytes=99999999999999999999-", 10, span{}, false, 416},
		{"bytes=1-2,4-5", 10, span{}, false, 200},
		{"bytes=3-2", 10, span{}, false, 200},
		{"bytes=+1-2", 10, span{}, false, 200},
		{"bytes=1--2", 10, span{}, false, 200},
		{"bytes=--2", 10, span{}, false, 200},
		{"bytes=", 10, span{}, false, 200},
		{"bytes=-", 10, span{}, false, 200},
		{"items=1-2", 10, span{}, false, 200},
		{"", 10, span{}, false, 200},
	} {
		got, ok, err := parseSpan(c.header, c.size)
		if got != c.want || ok != c.ok || StatusOf(err) != c.status {
			t.Errorf("%q of %d: %+v %v %v, want %+v %v %d", c.header, c.size, got, ok, err, c.want, c.ok, c.status)
		}
	}
}

func TestDisposition(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"", `attachment; filename="f.car"`},
		{"foobar.bin", `attachment; filename="foobar.bin"`},
		{"with space.car", `attachment; filename="with space.car"`},
		{"testтест.jpg", `attachment; filename="test____.jpg"; filename*=UTF-8''test%D1%82%D0%B5%D1%81%D1%82.jpg`},
		{`a"b\c.txt`, `attachment; filename="a_b_c.txt"; filename*=UTF-8''a%22b_c.txt`},
		{"a\r\nSet-Cookie: x=1", `attachment; filename="a__Set-Cookie: x=1"`},
		{"../../etc/passwd", `attachment; filename=".._.._etc_passwd"`},
		{"..", `attachment; filename="f.car"`},
		{"invoice\u202efdp.exe", `attachment; filename="invoice_fdp.exe"`},
		{"bad\xffutf", `attachment; filename="bad_utf"`},
		{"100%'*;.txt", `attachment; filename="100%'*;.txt"`},
		{"é%'.txt", `attachment; filename="_%'.txt"; filename*=UTF-8''%C3%A9%25%27.txt`},
	} {
		got, err := disposition(c.name, "f.car")
		if err != nil || got != c.want {
			t.Errorf("%q: %s, %v\nwant %s", c.name, got, err, c.want)
		}
	}
	if _, err := disposition(strings.Repeat("x", 256), "f"); StatusOf(err) != 400 {
		t.Errorf("256 bytes: %v, want status 400", err)
	}
}

func TestMatchesTag(t *testing.T) {
	for _, c := range []struct {
		list, tag    string
		weak, strong bool
	}{
		{`"a"`, `"a"`, true, true},
		{`W/"a"`, `"a"`, true, false},
		{`"a"`, `W/"a"`, true, false},
		{`W/"a"`, `W/"a"`, true, false},
		{`"x", W/"a" , "y"`, `"a"`, true, false},
		{`"x,\"", "a"`, `"a"`, false, false}, // a backslash escapes nothing in a tag, so the list is malformed
		{`"x,y","a"`, `"a"`, true, true},
		{`*`, `"a"`, true, true},
		{`a`, `"a"`, false, false},
		{`"a`, `"a"`, false, false},
		{`"A"`, `"a"`, false, false},
		{``, `"a"`, false, false},
		{`W/`, `"a"`, false, false},
	} {
		if got := matchesTag([]string{c.list}, c.tag, true); got != c.weak {
			t.Errorf("weak %s, %s: %v", c.list, c.tag, got)
		}
		if got := matchesTag([]string{c.list}, c.tag, false); got != c.strong {
			t.Errorf("strong %s, %s: %v", c.list, c.tag, got)
		}
	}
}
