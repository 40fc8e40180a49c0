package accept

import (
	"errors"
	"mime"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		header string
		want   string // type/subtype=weight of each range
	}{
		{"", ""},
		{"application/json", "application/json=1000"},
		{"text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5", // of RFC 9110
			"text/*=300 text/plain=700 text/plain=1000 text/plain=400 */*=500"},
		{"audio/*; q=0.2, audio/basic", "audio/*=200 audio/basic=1000"},
		{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "text/html=1000 image/gif=1000 image/jpeg=1000 */*=200"}, // Java
		{" a/b ;\tq=0.5 ", "a/b=500"},
		{"a/b;Q=0.001", "a/b=1"},
		{"a/b;q = 0.5", "a/b=500"},
		{`a/b;q="0.5"`, "a/b=500"},
		{"a/b;q=0", "a/b=0"},
		{"a/b;q=0.", "a/b=0"},
		{"a/b;q=1.", "a/b=1000"},
		{"a/b;q=1.000", "a/b=1000"},
		{"a/b;q=0.5;q=1", "a/b=500"},
		{"a/b;;x=1;q=0.5", "a/b=500"},
		{"a/b;x;q=0.5", "a/b=500"},
		{`a/b;x="c/d,e/f;q=0.1"`, "a/b=1000"},
		{`a/b;x="\"";q=0.5, c/d`, "a/b=500 c/d=1000"},
		{`a/b;x=", c/d`, "a/b=1000"},
		{`a/b;x=\, c/d`, "a/b=1000 c/d=1000"}, // it escapes nothing here
		{",,a/b,", "a/b=1000"},

		// What is malformed is left out.
		{"*", ""},
		{"*/b", ""},
		{"a", ""},
		{"/", ""},
		{"a/", ""},
		{"/b", ""},
		{"a/b/c", ""},
		{"a b/c", ""},
		{"a/b c", ""},
		{"a/j\u017fon", ""},
		{";;;;, a/b", "a/b=1000"},
		{"a/b;q=", ""},
		{"a/b;q", ""},
		{"a/b;q=.", ""},
		{"a/b;q=1.001", ""},
		{"a/b;q=1.5", ""},
		{"a/b;q=2", ""},
		{"a/b;q=-0", ""},
		{"a/b;q=00.5", ""},
		{"a/b;q=0.1234", ""},
		{"a/b;q=0.x", ""},
		{"a/b;q=1e-1", ""},
		{"a/b;q=NaN", ""},
	} {
		ranges, err := Parse([]string{c.header})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, text(ranges)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.header, diff)
		}
	}
	ranges, err := Parse([]string{"a/b, c/d", "", "e/f;q=0.5"})
	if got := text(ranges); got != "a/b=1000 c/d=1000 e/f=500" || err != nil {
		t.Errorf("three headers: %s, %v", got, err)
	}
}

func text(ranges []Range) string {
	out := make([]string, len(ranges))
	for i, r := range ranges {
		out[i] = r.Type + "/" + r.Subtype + "=" + strconv.Itoa(r.Weight)
	}
	return strings.Join(out, " ")
}

func TestTooMany(t *testing.T) {
	full := strings.Repeat("a/b, nonsense,", MaxRanges)
	if ranges, err := Parse([]string{full}); len(ranges) != MaxRanges || err != nil {
		t.Errorf("%d ranges, %v", len(ranges), err)
	}
	if ranges, err := Parse([]string{full, "a/b"}); ranges != nil || !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %d ranges, %v", len(ranges), err)
	}
	if !strings.Contains(ErrTooMany.Error(), strconv.Itoa(MaxRanges)) {
		t.Errorf("%v: the bound is %d", ErrTooMany, MaxRanges)
	}
}

func TestParam(t *testing.T) {
	ranges, err := Parse([]string{`a/b; Order=dfs; dups="y"; x="a\"b;c\\"; twice=1; twice=2; bare; none=; open="; q=0.5; late=1`})
	if err != nil || len(ranges) != 1 {
		t.Fatal(ranges, err)
	}
	for name, want := range map[string]string{
		"order": "dfs", "DUPS": "y", "x": `a"b;c\`, "twice": "2", "bare": "", "none": "", "absent": "", "q": "", "late": "",
		"open": `"; q=0.5; late=1`, // to the end, as its quote is never closed
	} {
		if got := ranges[0].Param(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestWeigh(t *testing.T) {
	flowed := func(r Range) int {
		switch r.Param("format") {
		case "":
			return 0
		case "flowed":
			return 1
		}
		return -1
	}
	rfc := "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5"
	for _, c := range []struct {
		header, typ string
		params      func(Range) int
		want        Preference
	}{
		{"", "text/plain", nil, Preference{}},
		{"*/*", "text/plain", nil, Preference{1000, AnyType, 0}},
		{"text/*", "text/plain", nil, Preference{1000, AnySubtype, 0}},
		{"text/html, TEXT/PLAIN", "text/plain", nil, Preference{1000, Exact, 1}},
		{"text/html, image/*", "text/plain", nil, Preference{}},
		{"text/plain;q=0, */*", "text/plain", nil, Preference{0, Exact, 0}},
		{"text/plain;q=0.1, text/plain", "text/plain", nil, Preference{100, Exact, 0}},

		// The table of RFC 9110, section 12.5.1.
		{rfc, "text/plain", flowed, Preference{1000, Exact + 1, 2}},
		{rfc, "text/plain", func(r Range) int { return -len(r.Param("format")) }, Preference{700, Exact, 1}},
		{rfc, "text/html", flowed, Preference{300, AnySubtype, 0}},
		{rfc, "image/jpeg", flowed, Preference{500, AnyType, 4}},
		{"text/plain;format=fixed", "text/plain", flowed, Preference{}},
		{"text/plain;format=fixed", "text/plain", nil, Preference{1000, Exact, 0}},
	} {
		ranges, err := Parse([]string{c.header})
		if err != nil {
			t.Fatal(err)
		}
		if got := Weigh(ranges, c.typ, c.params); got != c.want {
			t.Errorf("%s in %q: %+v, want %+v", c.typ, c.header, got, c.want)
		}
	}
}

// FuzzParse compares with mime what it understands, and reads what was read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"*/*", "application/json;q=0.5, a/*", `a/b;c="d\",e";q=0`, ";;,,=", "a/b;version=1;order=dfs;dups=y"} {
		f.Add(s)
	}
	qvalue := regexp.MustCompile(`^(0(\.[0-9]{0,3})?|1(\.0{0,3})?)$`)
	f.Fuzz(func(t *testing.T, header string) {
		ranges, err := Parse([]string{header})
		if err != nil {
			return
		}
		for _, r := range ranges {
			if r.Weight < 0 || r.Weight > 1000 || r.Match(r.Type+"/"+r.Subtype) == 0 {
				t.Fatalf("%+v", r)
			}
			again, err := Parse([]string{r.Type + "/" + r.Subtype + ";" + r.params + ";q=" + strconv.FormatFloat(float64(r.Weight)/1000, 'f', 3, 64)})
			if open := strings.Count(r.params, `"`) > 0; !open && (err != nil || len(again) != 1 || again[0].Weight != r.Weight) {
				t.Fatalf("%+v became %+v, %v", r, again, err)
			}
		}
		if strings.Contains(header, `"`) {
			return
		}
		for element := range strings.SplitSeq(header, ",") {
			media, params, err := mime.ParseMediaType(element)
			q, weighed := params["q"]
			typ, subtype, ok := strings.Cut(media, "/")
			if err != nil || !ok || typ == "*" && subtype != "*" || weighed && !qvalue.MatchString(q) || strings.ContainsAny(media, "{}") {
				continue // mime knows tokens as RFC 2045 does, with braces
			}
			want := 1000
			if weighed {
				f, err := strconv.ParseFloat(q, 64)
				if err != nil {
					t.Fatal(err)
				}
				want = int(f*1000 + 0.5)
			}
			r, ok := parse(element)
			if !ok || !strings.EqualFold(r.Type+"/"+r.Subtype, media) || r.Weight != want {
				t.Fatalf("%q: %+v, %v; want %s %d", element, r, ok, media, want)
			}
		}
	})
}
