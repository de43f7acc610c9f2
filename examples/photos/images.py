"""A handler gets the item's value, here a path, and returns bytes.

With Pillow (pip install pillow) it reads every kind of picture and returns a JPEG. Without it there are a few lines of plain Python for .ppm, so that the
example runs anywhere.
"""
import io

from tandem import Permanent

try:
    from PIL import Image, ImageFilter
except ImportError:
    Image = None

WIDTH = 512


def thumb(path):
    if Image is None:
        return plain(path)
    with Image.open(path) as picture:
        small = picture.convert("RGB").resize((WIDTH, max(1, picture.height * WIDTH // picture.width)), Image.LANCZOS)
    out = io.BytesIO()
    small.filter(ImageFilter.GaussianBlur(2)).save(out, "JPEG", quality=85)
    return out.getvalue()


def plain(path, width=64):
    """A small .ppm of a large one: each pixel is the mean of those that fall into it."""
    with open(path, "rb") as f:
        if f.readline() != b"P6\n":
            raise Permanent("only .ppm can be read without Pillow: pip install pillow", reason="pillow")
        w, h = map(int, f.readline().split())
        f.readline()
        pixels = f.read()
    if len(pixels) != 3 * w * h:
        raise Permanent("the picture is cut off", reason="broken")
    step = max(1, w // width)
    rows = []
    for y in range(0, h - step + 1, step):
        for x in range(0, w - step + 1, step):
            for c in range(3):
                total = sum(sum(pixels[3 * (w * j + x) + c:3 * (w * j + x + step):3]) for j in range(y, y + step))
                rows.append(total // (step * step))
    return b"P6\n%d %d\n255\n" % (w // step, h // step) + bytes(rows)
