package clustertest

import (
	"net/url"
	"os"
	"testing"
)

// The credentials of the buckets are where the kit of AWS looks for them.
func TestMain(m *testing.M) {
	if u, err := url.Parse(os.Getenv("TEST_S3")); err == nil && u.User != nil {
		secret, _ := u.User.Password()
		os.Setenv("AWS_ACCESS_KEY_ID", u.User.Username())
		os.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "hashstream-cluster"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// buildDir is where the binary goes that tests build.
var buildDir string
