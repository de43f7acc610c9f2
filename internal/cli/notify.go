package cli

import (
	"context"
	"net"
	"os"
)

// manager is the service manager that has started this command and wants to be told how it is; nil when there is none. systemd names its socket in the environment.
type manager struct{ socket string }

// findManager looks for one, and takes its address out of the environment: what this command starts is not the service and must not speak for it.
func findManager() *manager {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	_ = os.Unsetenv("NOTIFY_SOCKET")
	return &manager{socket}
}

// tell sends one state, such as READY=1. A manager that does not listen is no reason to stop.
func (m *manager) tell(state string) {
	if m == nil {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"}) // a name that begins with @ is one without a file
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = c.Write([]byte(state))
}

// serving says that the service is ready, and that it stops once ctx is done. The returned function ends that.
func (m *manager) serving(ctx context.Context) func() bool {
	m.tell("READY=1")
	return context.AfterFunc(ctx, func() { m.tell("STOPPING=1") })
}
