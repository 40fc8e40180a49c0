// Package interop tests hashstream as a process against the field's own programs:
// the engine of index-provider publishes, the clients of go-libipni look up. It is
// a module of its own, so that what those need is not needed by who uses hashstream.
package interop
