package cli

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheServiceManagerIsTold(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "n"), "@tandem-test-" + filepath.Base(t.TempDir())} {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		hear := func(want string) {
			t.Helper()
			_ = l.SetReadDeadline(time.Now().Add(10 * time.Second))
			b := make([]byte, 100)
			n, err := l.Read(b)
			if err != nil || string(b[:n]) != want {
				t.Errorf("on %s came %q, %v; want %s", name, b[:n], err, want)
			}
		}
		t.Setenv("NOTIFY_SOCKET", name)
		ctx, cancel := context.WithCancel(t.Context())
		m := findManager()
		if _, there := os.LookupEnv("NOTIFY_SOCKET"); there {
			t.Error("its address is left to what this command starts")
		}
		end := m.serving(ctx)
		hear("READY=1")
		cancel()
		hear("STOPPING=1")
		end()
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if m := findManager(); m != nil {
		t.Error("a manager without an address")
	}
	var nobody *manager
	nobody.serving(t.Context())()
}
