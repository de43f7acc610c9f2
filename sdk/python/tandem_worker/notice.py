"""A word of the control page that the kernel marks when this process begins to die, before it takes its memory down (section 7)."""
import ctypes
import os
from _thread import get_native_id

WORD, ROOM, WAITERS = 192, 64, 0x80000000  # bytes of the page; a futex somebody waits for
GET_ROBUST_LIST = {"x86_64": 274, "aarch64": 100, "riscv64": 100}
# Found once, so that a forked worker need not.
number = GET_ROBUST_LIST.get(os.uname().machine) if ctypes.sizeof(ctypes.c_void_p) == 8 else None
libc, Head, size = ctypes.CDLL(None), ctypes.POINTER(ctypes.c_int64 * 3), ctypes.c_size_t()


def robust_list():
    """The locks of this thread, as the C library keeps them: first, offset, pending. None where that is not known."""
    head = Head()
    if number is None or libc.syscall(ctypes.c_long(number), 0, ctypes.byref(head), ctypes.byref(size)) or not head or size.value != 24:
        return None
    return head


def arm(page):
    """Adds the word to the locks that the main thread holds. It is a hint: where that is not possible, Tandem sees the end a little later."""
    head = robust_list()
    if head is None:
        return
    # The C library's own list: a node lies where a lock of its would have it, with room for a pointer back in front of it.
    node = WORD - head.contents[1]
    if not WORD + 16 <= node <= WORD + ROOM - 8:
        return
    base = ctypes.addressof(ctypes.c_char.from_buffer(page))
    at = ctypes.addressof(head.contents)
    ctypes.c_int64.from_address(base + node).value = head.contents[0]
    ctypes.c_int64.from_address(base + node - 8).value = at
    ctypes.c_uint32.from_address(base + WORD).value = get_native_id() | WAITERS
    head.contents[0] = base + node
