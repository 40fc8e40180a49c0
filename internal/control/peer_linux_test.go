package control

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/hashstream/hashstream/kv/memkv"
)

// TestOtherUser lets another user through every file mode: the kernel's answer
// about the peer must still keep it out. Only root can play another user.
func TestOtherUser(t *testing.T) {
	home := t.TempDir()
	serve(t, home, NewServer(memkv.New(), nil))
	const request = "GET /status HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\r\n"
	users := []int{os.Geteuid()}
	if os.Geteuid() == 0 {
		users = append(users, 12345)
		for dir := home; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(home, socketName), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, uid := range users {
		type result struct {
			connect error
			answer  string
		}
		done := make(chan result)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with its user
			if uid != os.Geteuid() {
				if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
					done <- result{connect: errno}
					return
				}
			}
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if err == nil {
				err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: filepath.Join(home, socketName)})
			}
			buf := make([]byte, 1024)
			n := 0
			if err == nil {
				_ = syscall.Sendto(fd, []byte(request), syscall.MSG_NOSIGNAL, nil) // may be closed already
				n, _ = syscall.Read(fd, buf)
			}
			_ = syscall.Close(fd)
			done <- result{err, string(buf[:max(n, 0)])}
		}()
		got := <-done
		if got.connect != nil {
			t.Fatalf("user %d cannot connect, so nothing is proved: %v", uid, got.connect)
		}
		if answered := got.answer != ""; answered != (uid == os.Geteuid()) {
			t.Errorf("user %d is answered %q", uid, got.answer)
		}
	}
}
