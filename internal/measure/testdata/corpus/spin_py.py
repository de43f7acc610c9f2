"""Asks a socket that has nothing, in a circle."""
import socket, sys, time
a, b = socket.socketpair()
a.setblocking(False)
end = time.time() + 2.5 + int(sys.argv[1]) % 5 / 10
while time.time() < end:
    try:
        a.recv(1)
    except BlockingIOError:
        pass
