"""The pictures of the day: real JPEG photos with EXIF time and position, and a stroke as the customer's signature."""

import io
import math
import random
from datetime import datetime
from fractions import Fraction
from typing import Final

from PIL import Image, ImageDraw, ImageFilter

SIZE: Final = (1600, 1200)
QUALITY: Final = 88

_EXIF_MAKE, _EXIF_MODEL, _EXIF_DATETIME = 0x010F, 0x0110, 0x0132
_EXIF_IFD, _DATETIME_ORIGINAL = 0x8769, 0x9003
_GPS_IFD = 0x8825


def photo(label: str, taken_at: datetime, latitude: float, longitude: float, seed: int) -> bytes:
    """A JPEG of a machine room that never was, with the EXIF data that a phone writes. `taken_at` is local time."""
    chance = random.Random(seed)  # noqa: S311 - a picture, not a secret
    image = Image.effect_noise(SIZE, 24).convert("RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        left, top = chance.randint(0, SIZE[0] - 300), chance.randint(0, SIZE[1] - 300)
        tone = tuple(chance.randint(40, 200) for _ in range(3))
        draw.rectangle(
            (left, top, left + chance.randint(60, 300), top + chance.randint(60, 300)), fill=tone, outline=(20, 20, 20)
        )
    draw.ellipse((620, 380, 980, 740), outline=(230, 190, 60), width=24)
    image = image.filter(ImageFilter.GaussianBlur(1.2))
    ImageDraw.Draw(image).text((40, SIZE[1] - 60), f"{label}  {taken_at:%Y-%m-%d %H:%M:%S}", fill=(255, 255, 255))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY, exif=_exif(taken_at, latitude, longitude))
    return out.getvalue()


def _exif(taken_at: datetime, latitude: float, longitude: float) -> Image.Exif:
    exif = Image.Exif()
    exif[_EXIF_MAKE], exif[_EXIF_MODEL] = "Zone Blanche", "demo handheld"
    exif[_EXIF_DATETIME] = f"{taken_at:%Y:%m:%d %H:%M:%S}"
    exif.get_ifd(_EXIF_IFD)[_DATETIME_ORIGINAL] = f"{taken_at:%Y:%m:%d %H:%M:%S}"
    gps = exif.get_ifd(_GPS_IFD)
    gps[1], gps[2] = "N" if latitude >= 0 else "S", _degrees(abs(latitude))
    gps[3], gps[4] = "E" if longitude >= 0 else "W", _degrees(abs(longitude))
    return exif


def _degrees(value: float) -> tuple[float, float, float]:
    whole, rest = divmod(Fraction(value).limit_denominator(10**7), 1)
    minutes, rest = divmod(rest * 60, 1)
    return float(whole), float(minutes), round(float(rest * 60), 3)


def signature(seed: int) -> bytes:
    """A PNG of a stroke, as a finger draws it."""
    chance = random.Random(seed)  # noqa: S311 - a picture, not a secret
    image = Image.new("L", (600, 200), 255)
    points = [
        (40 + step * 5, 100 + 55 * math.sin(step / 5 + chance.random()) * math.exp(-step / 90) + chance.uniform(-4, 4))
        for step in range(104)
    ]
    ImageDraw.Draw(image).line(points, fill=10, width=4, joint="curve")
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
