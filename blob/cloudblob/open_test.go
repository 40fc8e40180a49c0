package cloudblob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/internal/faultproxy"
)

func TestOpenErrors(t *testing.T) {
	for u, want := range map[string]string{
		"s3://AKID:SECRET@bucket/":                                 "must not carry credentials",
		"s3://AKID@bucket/":                                        "must not carry credentials",
		"s3://bucket/?endpoint=http://AKID:SECRET@h":               "neither credentials nor a query",
		"s3://bucket/?endpoint=http://h?sig=SECRET":                "neither credentials nor a query",
		"s3://bucket/?endpoint=h:9000":                             "no http or https URL",
		"s3://bucket/?secret_access_key=SECRET":                    `unknown parameter "secret_access_key"`,
		"s3://bucket/?region=eu-west-1&use_path_style=SECRET":      "use_path_style is neither true nor false",
		"s3://bucket/?request_checksum_calculation=SECRET":         "neither when_supported nor when_required",
		"s3://bucket/a/../b":                                       `key "a/../b"`,
		"s3://bucket/#SECRET":                                      "want s3://bucket/prefix",
		"s3:///prefix":                                             "want s3://bucket/prefix",
		"ftp://bucket/":                                            "none of s3, gs, azblob",
		"s3://bucket/%zz?x=SECRET":                                 "malformed URL",
		"azblob://container/":                                      "parameter account",
		"azblob://container/?account=../SECRET":                    "parameter account",
		"azblob://container/?account=name&anonymous=true&x=SECRET": `unknown parameter "x"`,
		"gs://bucket/?anonymous=true&x=SECRET":                     `unknown parameter "x"`,
		"gs://bucket/?anonymous=SECRET":                            "anonymous is neither true nor false",
	} {
		_, err := cloudblob.Open(t.Context(), u, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") || !strings.HasPrefix(err.Error(), "cloudblob: open") {
			t.Errorf("Open(%q): %v, want %q", u, err, want)
		}
	}
	_, err := cloudblob.Open(t.Context(), "azblob://container/?account=name", &cloudblob.Options{Credentials: &cloudblob.Credentials{ID: "name", Secret: "SECRET!"}})
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a malformed key of an account: %v", err)
	}
}

// TestEnvironment: the kit finds credentials by itself, and says so when there are none.
func TestEnvironment(t *testing.T) {
	s := s3Server(t)
	bucket := s.bucket(t)
	u := "s3://" + bucket + "/?region=us-east-1&use_path_style=true&endpoint=" + s.endpoint
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": s.key.ID, "AWS_SECRET_ACCESS_KEY": s.key.Secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	st, err := cloudblob.Open(t.Context(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	put(t, st, "k", []byte("v"))
	t.Setenv("AWS_SECRET_ACCESS_KEY", "WRONGSECRET")
	for _, what := range []string{"wrong", "none"} {
		want := "status 403 Forbidden"
		if what == "none" {
			want = "are there credentials?"
			t.Setenv("AWS_ACCESS_KEY_ID", "")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		}
		st, err := cloudblob.Open(t.Context(), u, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		_, err = st.Get(t.Context(), "k", 0, -1)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "WRONGSECRET") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
}

// TestUnreachable is a server that is not there.
func TestUnreachable(t *testing.T) {
	f := openFaulty(t, cloudblob.Options{Attempts: 2})
	f.proxy.Close()
	_, err := f.Get(t.Context(), "k", 0, -1)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Get: %v", err)
	}
	f.clean(t, err)
	f.clean(t, f.Put(t.Context(), "k", strings.NewReader("x")))
	f.clean(t, f.Delete(t.Context(), "k"))
	for _, err := range f.List(t.Context(), "") {
		f.clean(t, err)
	}
}

// TestPermissions: every call fails at once, with a clean error.
func TestPermissions(t *testing.T) {
	f := openFaulty(t, cloudblob.Options{})
	for call, do := range map[string]func() error{
		"get":    func() error { _, err := f.Get(t.Context(), "k", 0, -1); return err },
		"stat":   func() error { _, err := f.Stat(t.Context(), "k"); return err },
		"put":    func() error { return f.Put(t.Context(), "k", strings.NewReader("x")) },
		"delete": func() error { return f.Delete(t.Context(), "k") },
		"list": func() (err error) {
			for _, err = range f.List(t.Context(), "") {
			}
			return err
		},
		"dir": func() (err error) {
			for _, err = range f.Dir(t.Context(), "") {
			}
			return err
		},
	} {
		for status, want := range map[int]error{401: fs.ErrPermission, 403: fs.ErrPermission} {
			f.proxy.Reset()
			f.proxy.Fail(faultproxy.Status(status, "AccessDenied"))
			err := do()
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", call, err, want)
			}
			f.clean(t, err)
			if n := len(f.proxy.Requests()); n != 1 {
				t.Errorf("%s: %d requests", call, n)
			}
		}
		f.proxy.Reset()
		f.proxy.Fail(faultproxy.Status(404, "NoSuchBucket"))
		if err := do(); !errors.Is(err, fs.ErrNotExist) && !(call == "delete" && err == nil) {
			t.Errorf("%s: %v", call, err)
		}
	}
}

// listing answers a listing with what foreign hands may have put there: this server cannot
// hold it.
func listing(encoding string, truncated bool, keys ...string) faultproxy.Fault {
	return faultproxy.Alter(func(r *http.Response) {
		var b strings.Builder
		fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>%s<IsTruncated>%v</IsTruncated>`, encoding, truncated)
		for _, k := range keys {
			size := 5
			if strings.HasSuffix(k, "/") {
				size = 0
			}
			fmt.Fprintf(&b, `<Contents><Key>%s</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;e&quot;</ETag><Size>%d</Size></Contents>`, k, size)
		}
		b.WriteString(`</ListBucketResult>`)
		r.Header.Set("Content-Length", fmt.Sprint(b.Len()))
		r.ContentLength, r.Body = int64(b.Len()), io.NopCloser(strings.NewReader(b.String()))
	})
}

func TestForeignKeys(t *testing.T) {
	var skipped []string
	f := openFaulty(t, cloudblob.Options{Trace: &cloudblob.Trace{Skipped: func(_ context.Context, name string) { skipped = append(skipped, name) }}})
	f.proxy.Fail(listing("<EncodingType>url</EncodingType>", false,
		"p/%01", "p/../x", "p//lead", "p/a//b", "p/a+b%2Bc", "p/a/./b", "p/dir/", "p/e../f", "p/g%0Ah", "p/%FF", "q/other", "p/z"))
	var keys []string
	for i, err := range f.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, i.Key)
	}
	slices.Sort(skipped)
	if diff := cmp.Diff([]string{"\x01", "a b+c", "e../f", "g\nh", "z"}, keys); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"p/../x", "p//lead", "p/a/./b", "p/a//b", "p/\xff", "q/other"}, skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	// What can be listed can be read, whatever gocloud thinks of it.
	f.proxy.Reset()
	client := f.server.client()
	for _, key := range []string{"p/e../f", "p/g\nh", "p/__0x2f__", "p/a b+c%25"} {
		if err := f.server.put(t.Context(), client, f.bucket, key, key); err != nil {
			t.Fatal(err)
		}
		local := strings.TrimPrefix(key, "p/")
		if got := read(t, f, local, 0, -1); string(got) != key {
			t.Errorf("%q holds %q", key, got)
		}
		i, err := f.Stat(t.Context(), local)
		if err != nil || i.Size != int64(len(key)) {
			t.Errorf("%q: %+v, %v", key, i, err)
		}
	}
}

func TestListFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault faultproxy.Fault
		ok    bool
	}{
		"503 once":       {faultproxy.Status(503, "SlowDown").Times(2), true},
		"503":            {faultproxy.Status(503, "SlowDown"), false},
		"cut":            {faultproxy.Cut(100).Times(1), true},
		"cut for ever":   {faultproxy.Cut(100), false},
		"no end":         {listing("", true, "p/a"), false},
		"disorder":       {listing("", true, "p/b").Times(1), false},
		"bad escape":     {listing("<EncodingType>url</EncodingType>", false, "p/%zz"), false},
		"nothing but it": {listing("", false, "p/k"), true},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFaulty(t, cloudblob.Options{})
			f.proxy.Fail(c.fault)
			var keys []string
			var err error
			var i blob.Info
			for i, err = range f.List(t.Context(), "") {
				keys = append(keys, i.Key)
			}
			f.clean(t, err)
			if c.ok != (err == nil) || c.ok && !slices.Equal(keys, []string{"k"}) {
				t.Errorf("%q, %v", keys, err)
			}
		})
	}
}

// TestManyPages lists more than a page holds.
func TestManyPages(t *testing.T) {
	f := openFaulty(t, cloudblob.Options{})
	client := f.server.client()
	want := []string{"k"}
	for i := range 1203 {
		key := fmt.Sprintf("m/%02d/%04d", i%3, i)
		if err := f.server.put(t.Context(), client, f.bucket, "p/"+key, ""); err != nil {
			t.Fatal(err)
		}
		want = append(want, key)
	}
	slices.Sort(want)
	var got []string
	for i, err := range f.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, i.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d keys, want %d", len(got), len(want))
	}
	if n := len(f.proxy.Requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
	if got := collect(t, f.Store, "m"); !slices.Equal(got, []string{"00/", "01/", "02/"}) {
		t.Errorf("Dir: %q", got)
	}
}
