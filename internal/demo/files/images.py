"""The demo's handler: a photo's path in, a blurred thumbnail out. The same code runs in all three ways."""
import os
import subprocess

try:
    from PIL import Image, ImageFilter, __version__

    code = "Pillow " + __version__
except ImportError:
    Image = None
    code = "Tandem's own image code, started for each photo (Pillow is not installed)"


def thumb(path):
    if "crash" in os.path.basename(path):
        os.abort()  # stands for a decoder with a bug
    if Image is None:
        return subprocess.run([os.environ["TANDEM_BIN"], "demo-thumb", path], check=True, stdout=subprocess.PIPE).stdout
    import io

    with Image.open(path) as picture:
        small = picture.convert("RGB").resize((512, max(1, picture.height * 512 // picture.width)), Image.LANCZOS)
    out = io.BytesIO()
    small.filter(ImageFilter.GaussianBlur(2)).save(out, "JPEG", quality=85)
    return out.getvalue()


if __name__ == "__main__":
    print(code)
