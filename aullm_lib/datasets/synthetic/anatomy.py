"""Who a synthetic face is: its shape, as weights of the head's targets, and what its skin, eyes and hair look like."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aullm_lib.datasets.synthetic import head

Array = np.ndarray
# What features are called that have a target (or one for either direction), and how far people differ (1: its end).
_FEATURES = {
    "head-scale-horiz": 0.15, "head-scale-vert": 0.12, "head-fat": 0.21, "head-round": 0.09, "head-square": 0.09,
    "head-oval": 0.09, "head-triangular": 0.075, "head-diamond": 0.06, "head-angle": 0.06, "forehead-temple": 0.18,
    "forehead-trans": 0.12, "eyebrows-angle": 0.24, "eyebrows-trans": 0.18, "eye-bag": 0.3, "eye-corner1": 0.3,
    "eye-corner2": 0.3, "eye-eyefold-angle": 0.3, "eye-height1": 0.24, "eye-height2": 0.24, "eye-height3": 0.24,
    "eye-scale": 0.24, "eye-trans": 0.15, "nose-base": 0.3, "nose-curve": 0.21, "nose-flaring": 0.3, "nose-hump": 0.24,
    "nose-nostrils-angle": 0.24, "nose-nostrils-width": 0.3, "nose-point": 0.15, "nose-point-width": 0.3,
    "nose-scale-depth": 0.18, "nose-scale-horiz": 0.3, "nose-scale-vert": 0.24, "nose-width1": 0.3, "nose-width2": 0.3,
    "nose-width3": 0.3, "nose-volume": 0.18, "nose-greek": 0.18, "mouth-angles": 0.21, "mouth-cupidsbow": 0.3,
    "mouth-lowerlip-height": 0.24, "mouth-lowerlip-volume": 0.3, "mouth-scale-horiz": 0.24, "mouth-scale-vert": 0.24,
    "mouth-trans": 0.18, "mouth-upperlip-height": 0.24, "mouth-upperlip-volume": 0.3, "mouth-philtrum-volume": 0.3,
    "chin-bones": 0.18, "chin-cleft": 0.18, "chin-height": 0.15, "chin-prominent": 0.18, "chin-width": 0.24,
    "chin-prognathism": 0.12, "cheek-bones": 0.3, "cheek-inner": 0.18, "cheek-volume": 0.24, "ear-flap": 0.18,
    "ear-lobe": 0.3, "ear-scale": 0.24, "ear-wing": 0.24, "neck-scale-horiz": 0.18, "neck-double": 0.12,
}  # fmt: skip
_ASYMMETRIC = 0.3  # how far targets of a single side are used
_PLUS = ("-incr", "-up", "-out", "-convex", "-forward", "-uncompress")
_MINUS = ("-decr", "-down", "-in", "-concave", "-backward", "-compress")
# Skin in BGR of the darkest and the lightest person of each ancestry; hair that goes with it.
_SKINS = {"asian": ((118, 150, 200), (158, 186, 226)), "caucasian": ((128, 152, 206), (172, 190, 228)),
          "african": ((38, 56, 88), (82, 110, 156))}  # fmt: skip
_HAIRS = {"asian": ((20, 22, 26), (26, 32, 42)), "caucasian": ((24, 34, 52), (84, 122, 160)),
          "african": ((16, 18, 20), (22, 26, 32))}  # fmt: skip
_IRISES = {"asian": ((18, 30, 50), (26, 44, 72)), "caucasian": ((40, 70, 100), (130, 120, 90)),
           "african": ((14, 24, 40), (22, 36, 60))}  # fmt: skip
_CLOTHS = ((60, 58, 56), (92, 66, 52), (120, 116, 112), (58, 60, 88), (74, 88, 70), (160, 152, 142), (40, 38, 36))


@dataclass(frozen=True)
class Population:
    """Who took part in a recording.

    Attributes:
        ancestry: share of "asian", "caucasian" and "african".
        women: their share.
        age: from, to, in years; the youngest are the most frequent.
    """

    ancestry: Mapping[str, float]
    women: float
    age: tuple[float, float]


@dataclass(frozen=True)
class Anatomy:
    """One person; colours BGR 0 to 255.

    Attributes:
        points: [n, 3] the head's vertices in mm, the middle between the eyeballs at the origin.
        old: 0 (20 years) to 1 (70).
        man: whether he may have a beard's shadow and receding hair.
    """

    points: Array
    old: float
    man: bool
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    cloth: tuple[float, float, float]
    lip: float  # how much redder than the skin, 0 to 1
    brow: tuple[float, float, float]  # half its thickness in mm, density 0 to 1, its arch in mm
    beard: float  # density of its shadow, 0 to 1
    hairline: float  # mm above the middle between the eyes
    volume: float  # thickness of the hair in mm
    spots: int
    creases: tuple[float, ...]  # how readily each kind of crease forms, about 1
    texture: int  # seed of pores, strands and spots


@lru_cache(maxsize=1)
def _pairs() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Targets of either direction by feature, of a single target none for less; both sides of the face together."""
    pairs: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for feature in _FEATURES:
        ends = []
        for words in (("", *_PLUS), _MINUS):
            names = {f"{side}{feature}{word}" for side in ("", "l-", "r-") for word in words}
            ends.append(tuple(sorted(names & set(head.load().targets))))
        pairs[feature] = (ends[0], ends[1])
    return pairs


def draw_anatomy(rng: np.random.Generator, people: Population) -> Anatomy:
    """Draw one person.

    Args:
        rng: the person's own generator; the same state gives the same person.
        people: of whom one is drawn.
    """
    races, shares = zip(*sorted(people.ancestry.items()), strict=True)
    race = str(rng.choice(races, p=np.array(shares) / sum(shares)))
    man = bool(rng.random() >= people.women)
    old = float(np.clip((people.age[0] + (people.age[1] - people.age[0]) * rng.random() ** 2 - 20) / 50, 0, 1))
    sex = np.clip(rng.normal(0.9, 0.08), 0.7, 1)
    mixed = np.clip(rng.normal(0.85, 0.1), 0.6, 1)
    weights: dict[str, float] = {}
    other = str(rng.choice([k for k in ("african", "asian", "caucasian") if k != race]))
    for ancestry, a in ((race, mixed), (other, 1 - mixed)):
        for kind, s in (("male" if man else "female", sex), ("female" if man else "male", 1 - sex)):
            for age, w in (("young", 1 - old), ("old", old)):
                weights[f"{ancestry}-{kind}-{age}"] = float(a * s * w)
    heavy = float(np.clip(rng.normal(-0.1, 0.35), -0.8, 0.8))
    build = "max" if heavy > 0 else "min"
    weights[f"universal-{'male' if man else 'female'}-young-averagemuscle-{build}weight"] = abs(heavy)
    for feature, spread in _FEATURES.items():
        much = float(np.clip(rng.normal(0, spread), -0.9, 0.9))
        for name in _pairs()[feature][much < 0]:
            weights[name] = abs(much)
    for name in sorted(head.load().targets):
        if name.startswith("asym-"):
            weights[name] = _ASYMMETRIC * float(rng.random() * (rng.random() < 0.3))
    mesh = head.load()
    points = mesh.points + mesh.moved(weights)
    points -= eyeballs(points).mean(0)

    def between(ends: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[float, float, float]:
        low, high = (np.array(k, dtype=float) for k in ends)
        b, g, r = (low + (high - low) * rng.random()) * rng.normal(1, 0.012, 3)
        return float(b), float(g), float(r)

    skin, hair, iris = between(_SKINS[race]), between(_HAIRS[race]), between(_IRISES[race])
    if old > 0.5:
        grey = 0.5 * float(rng.random())
        hair = tuple(k + (150 - k) * grey for k in hair)  # type: ignore[assignment]
    return Anatomy(
        points=points,
        old=old,
        man=man,
        skin=skin,
        hair=hair,
        iris=iris,
        cloth=tuple(float(k) for k in _CLOTHS[rng.integers(len(_CLOTHS))]),  # type: ignore[arg-type]
        lip=float(rng.uniform(0.35, 0.8)) * (0.75 if man else 1.0),
        brow=(float(rng.uniform(3.2, 4.6) if man else rng.uniform(2.4, 3.6)), float(rng.uniform(0.55, 0.95)),
              float(rng.uniform(-1.5, 2.5))),
        beard=float(rng.uniform(0, 0.8)) * man * (0.5 if race == "asian" else 1.0),
        hairline=float(rng.normal(66, 4) + man * (3 + 14 * old * rng.random())),
        volume=float(rng.uniform(4, 11) if man else rng.uniform(7, 14)),
        spots=int(rng.integers(2, 14)),
        creases=tuple(float(k) for k in np.exp(rng.normal(0, 0.4, 8))),
        texture=int(rng.integers(2**31)),
    )  # fmt: skip


def eyeballs(points: Array) -> Array:
    """Centres of the eyeballs [2, 3]: the person's right one first, which is on the image's left."""
    mesh = head.load().only(head.EYE)
    index = np.unique(mesh.triangles)
    left = mesh.points[index, 0] > 0
    return np.array([points[index[~left]].mean(0), points[index[left]].mean(0)])


@lru_cache(maxsize=1)
def base_points() -> Array:
    """The base mesh [n, 3] in mm, the middle between its eyeballs at the origin."""
    points = head.load().points
    return np.asarray(points - eyeballs(points).mean(0))
