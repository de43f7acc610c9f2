import io

from PIL import Image, ImageOps


def thumb(path):
    """One photo in, the bytes of a small JPEG out."""
    with Image.open(path) as picture:
        small = ImageOps.exif_transpose(picture).convert("RGB")
        small.thumbnail((512, 512))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return out.getvalue()
