"""A handler gets the item's value, here a path, and returns bytes. It needs Pillow: pip install pillow."""
import io

from PIL import Image, ImageFilter


def thumb(path):
    with Image.open(path) as picture:
        small = picture.convert("RGB").resize((512, max(1, picture.height * 512 // picture.width)), Image.LANCZOS)
    out = io.BytesIO()
    small.filter(ImageFilter.GaussianBlur(2)).save(out, "JPEG", quality=85)
    return out.getvalue()
