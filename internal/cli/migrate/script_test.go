package migrate_test

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "HASHSTREAM_HOME="+filepath.Join(e.WorkDir, "home"), "ROOT="+scriptRoot)
			return nil
		},
	})
}

// scriptRoot is the CID of the directory that the script adds.
const scriptRoot = "bafybeievosqt5acywtx3x3rr24ublfgwbwuei5kuooz5rj7al7gmxn3scm"
