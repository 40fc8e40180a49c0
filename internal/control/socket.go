package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxSocketPath is what fits in sockaddr_un on the systems that allow least
// (104 bytes with the final zero).
const maxSocketPath = 103

// Listener is a node's end of the control socket.
type Listener struct {
	*net.UnixListener
	socket string
	lock   *os.File
}

// Listen creates the control socket of home, with mode 0600, and the home too if
// it is absent. A socket that a dead node left is replaced. If a node lives, the
// error matches [ErrRunning] and names its process. The caller closes the listener.
func Listen(home string) (*Listener, error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, fmt.Errorf("control: listen: %w", err)
	}
	lock, err := acquire(filepath.Join(home, lockName))
	if err != nil {
		return nil, fmt.Errorf("control: listen in %s: %w", home, err)
	}
	l, err := listen(home)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control: listen in %s: %w", home, err), lock.Close())
	}
	return &Listener{l, filepath.Join(home, socketName), lock}, nil
}

// acquire takes the lock that a node holds for as long as it lives; the kernel
// lets go of it with the process. The file names the process.
func acquire(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrRunning
		if pid, ok := ReadPID(name); ok {
			err = fmt.Errorf("%w as process %d", ErrRunning, pid)
		}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ReadPID returns the process that the file names, if there is such a process.
func ReadPID(name string) (int, bool) {
	data, err := os.ReadFile(name)
	if err != nil || len(data) > 32 {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 0 {
		return 0, false
	}
	err = syscall.Kill(pid, 0)
	return pid, err == nil || errors.Is(err, syscall.EPERM)
}

// listen binds in a directory that nobody else can enter, restricts the socket,
// and only then moves it to its name: there is no moment at which others could
// connect, whatever the umask, and none at which the name is missing.
func listen(home string) (*net.UnixListener, error) {
	target := filepath.Join(home, socketName)
	if info, err := os.Lstat(target); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is not a socket, it is left alone: %w", target, fs.ErrExist)
	}
	const private = ".control"
	dir := filepath.Join(home, private)
	if err := os.RemoveAll(dir); err != nil { // a crash between bind and rename leaves it
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	short, done, err := shorten(home, filepath.Join(private, "s"))
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // Close knows the final name
	bound := filepath.Join(dir, "s")
	if err := errors.Join(os.Chmod(bound, 0o600), os.Rename(bound, target)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// shorten returns a path to name in dir that fits in a socket address. Where the
// plain one does not, it goes through the descriptor of dir, which done closes.
func shorten(dir, name string) (path string, done func(), err error) {
	path = filepath.Join(dir, name)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	path = fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), name)
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		_ = f.Close()
		return "", nil, fmt.Errorf("the path of the home has %d bytes, too long for a unix socket here; use a shorter --home: %w",
			len(dir), fs.ErrInvalid)
	}
	return path, func() { _ = f.Close() }, nil
}

// Accept returns the next connection of this user or root. Others are closed.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if trusted(conn) {
			return conn, nil
		}
		_ = conn.Close()
	}
}

// Close stops listening, removes the socket and lets another node start.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil // a second Close must not remove the next node's socket
	}
	return errors.Join(err, os.Remove(l.socket), l.lock.Close())
}

// dialSocket connects with the node in home.
func dialSocket(ctx context.Context, home string) (net.Conn, error) {
	path, done, err := shorten(home, socketName)
	if err != nil {
		return nil, noNode(err)
	}
	defer done()
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, noNode(err)
	}
	if !trusted(conn.(*net.UnixConn)) {
		_ = conn.Close()
		return nil, fmt.Errorf("the socket in %s belongs to another user: %w", home, fs.ErrPermission)
	}
	return conn, nil
}

// noNode recognizes an absent socket and one that nobody listens on.
func noNode(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w (%w)", ErrNoNode, err)
	}
	return err
}

// allowed says who may be at the other end.
func allowed(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }
