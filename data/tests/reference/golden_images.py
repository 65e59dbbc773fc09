"""Writes the image files of the tests, and what Pillow and torchvision make of them.

    python golden_images.py            writes images/ and images.safetensors
    python golden_images.py --check    recomputes the values from the committed images and compares

Values: `<file>/rgb` and `<file>/grey` are Pillow's `convert`, u8 [H,W,C]; `<file>/crop` is torchvision's evaluation transform (shorter side to
RESIZE, centre of SIDE), `<file>/squash` a resize of the whole, `<file>/part` a crop of PART brought to SIDE, `<file>/cut` a crop at CUT of the resized
image; all u8 [C,H,W].
"""

import argparse
import io
import pathlib

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
IMAGES = HERE / "images"
VALUES = HERE / "images.safetensors"
SIDE, RESIZE = 48, 55
PART = (7, 11, 60, 70)  # top, left, height, width
CUT = (3, 5)  # top, left
DECODED = ["420.jpg", "444.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "rgb.png", "palette.png", "rgba.png", "grey.png", "bits.png"]
VIEWED = ["420.jpg", "444.jpg", "rgb.png"]


def picture(width, height, phase=0.0):
    """Smooth colours, a sharp disc and a fine grid."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 127 + 120 * np.sin(x / 17 + phase)
    green = 127 + 120 * np.cos(y / 13 - phase)
    blue = 127 + 120 * np.sin((x + y) / 23)
    image = np.stack([red, green, blue], -1)
    disc = (x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2
    image[disc] = [230, 40, 30]
    grid = (x > width * 0.7) & ((x.astype(int) // 3 + y.astype(int) // 3) % 2 == 0)
    image[grid] = [20, 30, 200]
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def write():
    IMAGES.mkdir(exist_ok=True)
    rgb = Image.fromarray(picture(133, 90))
    rgb.save(IMAGES / "420.jpg", quality=90, subsampling="4:2:0")
    Image.fromarray(picture(91, 120, 1.0)).save(IMAGES / "444.jpg", quality=92, subsampling="4:4:4")
    rgb.save(IMAGES / "progressive.jpg", quality=85, progressive=True)
    rgb.convert("L").save(IMAGES / "grey.jpg", quality=90)
    rgb.convert("CMYK").save(IMAGES / "cmyk.jpg", quality=90)
    Image.fromarray(picture(120, 97, 2.0)).save(IMAGES / "rgb.png")
    small = Image.fromarray(picture(40, 30))
    small.quantize(16).save(IMAGES / "palette.png")
    alpha = Image.fromarray((np.arange(40 * 30).reshape(30, 40) % 256).astype(np.uint8))
    rgba = small.copy()
    rgba.putalpha(alpha)
    rgba.save(IMAGES / "rgba.png")
    small.convert("L").save(IMAGES / "grey.png")
    small.convert("1").save(IMAGES / "bits.png")
    # Pillow reads no 16-bit RGB, and clips 16-bit grey: such a file is made here, and the test knows its values.
    deep = (np.arange(8 * 6).reshape(6, 8) * 1365).astype(np.uint16)
    Image.fromarray(deep).save(IMAGES / "grey16.png")


def values():
    found = {}
    for name in DECODED:
        image = Image.open(io.BytesIO((IMAGES / name).read_bytes()))
        found[f"{name}/rgb"] = np.asarray(image.convert("RGB"))
        found[f"{name}/grey"] = np.asarray(image.convert("L"))
    for name in VIEWED:
        image = Image.open(IMAGES / name).convert("RGB")
        planes = lambda image: np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
        resized = F.resize(image, RESIZE, antialias=True)
        found[f"{name}/crop"] = planes(F.center_crop(resized, [SIDE, SIDE]))
        found[f"{name}/squash"] = planes(F.resize(image, [SIDE, SIDE], antialias=True))
        found[f"{name}/part"] = planes(F.resized_crop(image, *PART, [SIDE, SIDE], antialias=True))
        found[f"{name}/cut"] = planes(F.crop(resized, *CUT, SIDE, SIDE))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    torch.set_num_threads(1)
    if not check:
        write()
    found = values()
    if not check:
        save_file(found, VALUES)
        return
    known = load_file(VALUES)
    assert known.keys() == found.keys(), known.keys() ^ found.keys()
    for name, value in found.items():
        difference = np.abs(known[name].astype(int) - value.astype(int)).max()
        assert difference <= 1, f"{name}: differs by {difference}"
    print(f"{len(found)} values are the same")


if __name__ == "__main__":
    main()
