"""Draws one picture of a class: a textured shape somewhere in clutter and uneven light.

A class is a pair (shape, texture): neither alone names it. Everything that a linear model or a colour
histogram could hold on to is drawn afresh for each picture: both colours of the texture (and which of the
two is the lighter), place, size, rotation, slant, the background, the distractors (small plain copies of
the same shapes, patches of the same textures, bars), the direction of the light, blur and noise. What stays
is the outline and the pattern, which take local filters and their combination over space to see.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SHAPES = ("disc", "triangle", "cross")
OUTLINES: dict[str, list[tuple[float, float]]] = {  # corners about the origin, in diameters; areas are about equal
    "disc": [(0.5 * math.cos(t * math.tau / 40), 0.5 * math.sin(t * math.tau / 40)) for t in range(40)],
    "bar": [(0.45 * x, 0.45 * y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))],
    "triangle": [(0.66 * math.sin(t * math.tau / 3), 0.1 - 0.66 * math.cos(t * math.tau / 3)) for t in range(3)],
    "cross": [
        (c * x - s * y, s * x + c * y)
        for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))
        for x, y in ((0.58, -0.22), (0.58, 0.22), (0.22, 0.22))
    ],
}
PATTERNS: dict[
    str, Callable[[Any, Any], Any]
] = {  # plain arithmetic, no sines, so that all processors agree to the bit
    "striped": lambda u, v: u < 0.5,
    "banded": lambda u, v: v < 0.5,
    "checked": lambda u, v: (u < 0.5) ^ (v < 0.5),
    "spotted": lambda u, v: (u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.4**2,  # half of the area, as in the others
}
TEXTURES = tuple(PATTERNS)
SUPERSAMPLING = 3  # outlines are drawn three times too large and averaged down

# How hard the pictures are: such that a small convolutional net still errs.
DIAMETER = (0.5, 0.9)  # of the object, as a fraction of the shorter side
SHIFT = 0.1  # largest displacement of its centre, likewise
TURN = 0.5  # largest rotation, in radians
SLANT = 0.8  # the narrowest that rotation in depth makes it
CYCLES = (2.5, 6.0)  # periods of the texture across the object
CONTRAST = 50.0  # least distance of its two colours and of each to the background, in grey levels
DISTRACTORS = (1, 6)
SHADE = 0.45  # the light falls off by up to this fraction across the picture
NOISE = (2.0, 25.0)  # standard deviation, in grey levels
BLUR = (0.0, 1.2)  # radius in pixels at a shorter side of 96


@dataclass(frozen=True)
class Frame:
    """Where an object stands: centre and diameter in pixels, rotation in radians, ratio of its axes."""

    x: float
    y: float
    diameter: float
    angle: float
    slant: float


def pattern(texture: str, u: Floats, v: Floats) -> Mask:
    """Which of its two colours a texture has at u, v (h, w), in periods."""
    mask: Mask = PATTERNS[texture](u - np.floor(u), v - np.floor(v))
    return mask


def mask(shape: str, frame: Frame, width: int, height: int) -> Image.Image:
    """Coverage of each pixel by a shape, 0..255: a gray picture."""
    cos, sin = math.cos(frame.angle), math.sin(frame.angle)
    corners = []
    for x, y in OUTLINES[shape]:
        x, y = x * frame.diameter, y * frame.diameter * frame.slant
        corners.append((frame.x + cos * x - sin * y, frame.y + sin * x + cos * y))
    canvas = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    ImageDraw.Draw(canvas).polygon([(SUPERSAMPLING * x, SUPERSAMPLING * y) for x, y in corners], fill=255)
    return canvas.reduce(SUPERSAMPLING)


def random_color(rng: np.random.Generator) -> Floats:
    """A colour (3,), 0..255, whose channels vary more together than apart, as in photographs."""
    brightness, tint = rng.uniform(40, 215), rng.uniform(-80, 80, 3)
    return np.clip(brightness + tint, 5, 250).astype(np.float32)


def distant_color(rng: np.random.Generator, others: list[Floats], distance: float) -> Floats:
    """A random colour that is, if possible, `distance` grey levels (root mean square) from the others."""
    best, best_gap = random_color(rng), -1.0
    for _ in range(30):
        color = random_color(rng)
        gap = min(float(np.sqrt(np.mean((color - other) ** 2))) for other in others)
        if gap > best_gap:
            best, best_gap = color, gap
        if gap >= distance:
            break
    return best


def smooth_field(rng: np.random.Generator, cells: int, width: int, height: int) -> Floats:
    """Slowly varying noise in -1..1 with about `cells` bumps a side: (height, width)."""
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    fine = coarse.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(fine, dtype=np.float32) / np.float32(127.5) - np.float32(1)


def textured(rng: np.random.Generator, texture: str, frame: Frame, cycles: float, size: tuple[int, int]) -> Mask:
    """A texture at a random phase that turns and slants with an object; `size` and result: (height, width)."""
    x = np.arange(size[1], dtype=np.float32) + np.float32(0.5 - frame.x)
    y = np.arange(size[0], dtype=np.float32)[:, None] + np.float32(0.5 - frame.y)
    cos, sin = np.float32(math.cos(frame.angle)), np.float32(math.sin(frame.angle))
    scale = np.float32(cycles / frame.diameter)
    u = (cos * x + sin * y) * scale + np.float32(rng.random())
    v = (cos * y - sin * x) * scale / np.float32(frame.slant) + np.float32(rng.random())
    return pattern(texture, u, v)


def background(rng: np.random.Generator, base: Floats, width: int, height: int) -> Image.Image:
    """A mottled ground with distractors, which have a shape or a texture, but never both."""
    ground = np.tile(base, (9, 9, 1))
    for cells, strength in ((3, 28.0), (9, 14.0)):
        tint = rng.uniform(-strength, strength, 3).astype(np.float32)
        ground += smooth_field(rng, cells, 9, 9)[..., None] * tint
    coarse = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
    side = min(width, height)
    for _ in range(int(rng.integers(DISTRACTORS[0], DISTRACTORS[1] + 1))):
        x, y, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, math.tau)
        kind = rng.random()
        if kind < 0.5:  # a small plain shape
            frame = Frame(x, y, side * rng.uniform(0.12, 0.3), angle, rng.uniform(0.5, 1))
            cover = mask(SHAPES[rng.integers(len(SHAPES))], frame, width, height)
        elif kind < 0.8:  # a bar
            frame = Frame(x, y, side * rng.uniform(0.4, 1.4), angle, rng.uniform(0.03, 0.12))
            cover = mask("bar", frame, width, height)
        else:  # a patch of texture without an outline
            frame = Frame(x, y, side * rng.uniform(0.3, 0.5), angle, 1.0)
            texture = TEXTURES[rng.integers(len(TEXTURES))]
            spots = textured(rng, texture, frame, rng.uniform(3, 6), (height, width))
            opacity = np.clip(2 * smooth_field(rng, 5, width, height), 0, 0.8)
            cover = Image.fromarray((spots * opacity * 255).astype(np.uint8))
        picture.paste(tuple(int(c) for c in random_color(rng)), (0, 0), cover)
    return picture


def render(rng: np.random.Generator, shape: str, texture: str, width: int, height: int) -> Image.Image:
    """One picture of a textured shape, RGB.

    The object stands near the middle, so that the central square, which is packed, holds it.
    """
    side = min(width, height)
    base = random_color(rng)
    picture = background(rng, base, width, height)

    frame = Frame(
        x=width / 2 + side * rng.uniform(-SHIFT, SHIFT),
        y=height / 2 + side * rng.uniform(-SHIFT, SHIFT),
        diameter=side * rng.uniform(*DIAMETER),
        angle=rng.uniform(-TURN, TURN),
        slant=rng.uniform(SLANT, 1),
    )
    first = distant_color(rng, [base], CONTRAST)
    second = distant_color(rng, [base, first], CONTRAST)
    which = textured(rng, texture, frame, rng.uniform(*CYCLES), (height, width))
    surface = np.where(which[..., None], first.astype(np.uint8), second.astype(np.uint8))
    picture.paste(Image.fromarray(surface), (0, 0), mask(shape, frame, width, height))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR) * side / 96))

    direction, fall = rng.uniform(0, math.tau), 2 * rng.uniform(0, SHADE)
    across = np.arange(width, dtype=np.float32) / width - np.float32(0.5)
    down = np.arange(height, dtype=np.float32) / height - np.float32(0.5)
    ramp = np.float32(math.cos(direction) * fall) * across + np.float32(math.sin(direction) * fall) * down[:, None]
    light = (1 + ramp) * np.float32(rng.uniform(0.7, 1.15))
    pixels = np.asarray(picture, dtype=np.float32) * light[..., None]
    pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(*NOISE))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
