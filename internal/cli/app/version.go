package app

import "runtime/debug"

// Version is what the Go toolchain recorded of the source.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
