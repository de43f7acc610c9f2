"""A server on an event queue, and two clients of its own that seldom ask."""
import os, select, socket, sys, time
pause = 0.05 + int(sys.argv[1]) % 5 / 200
l = socket.create_server(("127.0.0.1", 0))
events = select.epoll()
events.register(l, select.EPOLLIN)
for _ in range(2):
    if os.fork() == 0:
        c = socket.create_connection(l.getsockname())
        for _ in range(45):
            c.send(b"hi")
            c.recv(9)
            time.sleep(pause)
        os._exit(0)
clients, left = {}, 2
while left:
    for fd, _ in events.poll():
        if fd == l.fileno():
            c, _ = l.accept()
            clients[c.fileno()] = c
            events.register(c, select.EPOLLIN)
        elif d := clients[fd].recv(99):
            clients[fd].send(d)
        else:
            events.unregister(fd)
            clients.pop(fd).close()
            left -= 1
