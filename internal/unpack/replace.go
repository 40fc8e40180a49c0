package unpack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// TempPrefix begins the names of unfinished output.
const TempPrefix = ".hashstream-"

// replace lets fill make a temporary name in dir and gives it its final name, or
// removes it.
func replace(dir *os.Root, name string, o *Options, fill func(tmp string) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	if _, err := dir.Lstat(name); err == nil && !o.Force {
		return fs.ErrExist
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp := tempName()
	err := fill(tmp)
	if err == nil {
		err = publish(dir, tmp, name, o.Force)
	}
	if err != nil {
		// Nobody else knows the name, so whatever has it is ours.
		return errors.Join(err, dir.RemoveAll(tmp))
	}
	if o.Sync {
		return syncDir(dir)
	}
	return nil
}

func tempName() string { return TempPrefix + rand.Text() }

// publish renames tmp to name.
func publish(dir *os.Root, tmp, name string, force bool) error {
	now, err := dir.Lstat(tmp)
	if err != nil {
		return err
	}
	if !force {
		return publishNew(dir, tmp, name, now)
	}
	old, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !old.IsDir() && !now.IsDir() {
		return dir.Rename(tmp, name) // replaces a file or link at once
	}
	if err != nil {
		return err
	}
	return exchange(dir, tmp, name)
}

// publishNew refuses to replace, also what appeared while fill was at work. A hard
// link is the rename that fails if the name is taken; where there are none, a
// moment remains in which another process could lose a file.
func publishNew(dir *os.Root, tmp, name string, now fs.FileInfo) error {
	if now.Mode().IsRegular() {
		err := dir.Link(tmp, name)
		if err == nil {
			return dir.Remove(tmp)
		}
		if errors.Is(err, fs.ErrExist) {
			return fs.ErrExist
		}
	}
	if _, err := dir.Lstat(name); err == nil {
		return fs.ErrExist
	}
	return dir.Rename(tmp, name)
}

// exchange replaces where one of the two is a directory: the old output is moved
// aside, and back if the new one cannot take its place.
func exchange(dir *os.Root, tmp, name string) error {
	aside := tempName()
	if err := dir.Rename(name, aside); err != nil {
		return err
	}
	if err := dir.Rename(tmp, name); err != nil {
		return errors.Join(err, dir.Rename(aside, name))
	}
	if err := dir.RemoveAll(aside); err != nil {
		return fmt.Errorf("remove the old output, now at %q: %w", aside, err)
	}
	return nil
}

func syncDir(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
