"""Finds the files of a model, in a folder or on the hub, and says in one line why it cannot.

What this machine has is taken as it is, without asking: a model does not change under what was
trained on it. The hub is asked for what is missing only, with a short wait. Knows nothing of what
is in the files, but that pickled weights can run code.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # by __getattr__

from chatbot.errors import ModelError, reason_of

_READ = (".json", ".txt", ".model", ".jinja")
"""Beside the weights: configurations, tokenizers, chat templates."""

_PICKLED = "pytorch_model*.bin"

_MODULE = re.compile(r"(\w+_)?\d+_\w+")
"""How sentence-transformers calls the folders of a model's modules, such as `1_Pooling`."""

WAIT_S = 5.0
"""For the hub's first answer; a misspelt name or a dead network shall not take half a minute."""


def find_model(
    model: str | Path, *, revision: str | None = None, allow_pickle: bool = False
) -> Path:
    """The folder with config.json and weights of a model.

    Args:
        model: a folder, or a hub name such as `intfloat/multilingual-e5-small`, with @ and the
            revision behind it if one is wanted.
        revision: of a hub model: a branch, a tag or a commit.
        allow_pickle: take pickled weights where there are no safetensors.

    Raises:
        ModelError: there is none, or files are missing; the message says what to do.
    """
    place = Path(model).expanduser()
    if place.exists():
        if not place.is_dir():
            raise ModelError(f"{place} is a file; give the folder it lies in")
        if revision is not None:
            raise ModelError(
                f"{place} is a folder, which has no revision {revision!r}; leave it out"
            )
        check_files(str(model), place, allow_pickle=allow_pickle)
        return place
    named = re.fullmatch(r"([\w-][\w.-]*(?:/[\w.-]+)?)(?:@([\w./-]+))?", str(model))
    if named is None:
        raise ModelError(
            f"there is no folder {place}; give one made by `save_pretrained` or `chatbot train "
            "export`, or a hub name as OWNER/MODEL"
        )
    if revision and named[2] and revision != named[2]:
        raise ModelError(f"{model} has a revision, and {revision!r} is another; give one of them")
    try:
        return _of_hub(named[1], revision or named[2], allow_pickle)
    except HFValidationError as error:
        raise ModelError(f"{model} is no hub name: {error}; give OWNER/MODEL") from error


# -- the files of one folder


def weight_files(folder: Path) -> list[Path]:
    """The weights in a folder, pickled ones only where there are no others."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob(_PICKLED))


def digest_of_weights(folder: Path) -> str:
    """SHA-256 over the bytes of all weight files: what heads for a Meena are kept by."""
    known = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                known.update(block)
    return known.hexdigest()


def digest_of_model(folder: Path) -> str:
    """SHA-256 over the digests of all weight files and of what says how to compute with them."""
    known = hashlib.sha256()
    for file in (folder / "config.json", *weight_files(folder)):
        known.update(digest_of_file(file).encode())
    return known.hexdigest()


def digest_of_file(file: Path) -> str:
    """SHA-256 of a file; large ones in the hub's cache are called by it and need not be read."""
    own = file.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", own):
        return own
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_files(name: str, folder: Path, *, allow_pickle: bool = False) -> None:
    """Raises ModelError where a folder lacks what every model has."""
    files = [one for glob in ("*", "*/*") for one in folder.glob(glob) if one.is_file()]
    _check_names(name, [one.relative_to(folder).as_posix() for one in files], allow_pickle)
    missing = _missing_shards(folder)
    if missing:
        raise ModelError(
            f"{name} lacks {len(missing)} of its weight files ({missing[0]}); fetch it again"
        )


def _check_names(name: str, files: Iterable[str], allow_pickle: bool) -> None:
    """Raises ModelError where these files of a folder, or of the hub, are no model."""
    places = _places(files)
    if not {"config.json", "modules.json"} & places["."]:
        raise ModelError(
            f"{name} has no config.json; give a model as `save_pretrained` or `chatbot train "
            "export` writes it"
        )
    pickled = sorted(
        _path(at, one) for at, place in places.items() for one in place if _needs_pickle(one, place)
    )
    if pickled and not allow_pickle:
        raise ModelError(
            f"{name} has its weights as {pickled[0]} only, and pickled files can run code. If you "
            "trust it, give --allow-pickle (allow_pickle=True); only tensors are read then"
        )
    if not pickled and not any(map(_has_safetensors, places.values())):
        raise ModelError(
            f"{name} has no weights: there is no model.safetensors in it; export or download the "
            "model again"
        )


def _places(files: Iterable[str]) -> dict[str, set[str]]:
    """Names of the files by the folder they lie in: the model's, ".", and those of its modules."""
    places: dict[str, set[str]] = {".": set()}
    for file in map(PurePosixPath, files):
        places.setdefault(str(file.parent), set()).add(file.name)
    if "modules.json" not in places["."]:
        return {".": places["."]}
    return {at: names for at, names in places.items() if at == "." or _MODULE.fullmatch(at)}


def _path(place: str, name: str) -> str:
    return name if place == "." else f"{place}/{name}"


def _has_safetensors(names: Iterable[str]) -> bool:
    return any(name.endswith(".safetensors") for name in names)


def _needs_pickle(name: str, place: Iterable[str]) -> bool:
    """Whether a file holds weights that its folder has pickled only."""
    return PurePosixPath(name).match(_PICKLED) and not _has_safetensors(place)


def _wanted(files: Iterable[str], allow_pickle: bool) -> list[str]:
    """Those files of a hub model that are read here."""
    return [
        _path(at, name)
        for at, place in _places(files).items()
        for name in sorted(place)
        if name.endswith((".safetensors", *_READ)) or (allow_pickle and _needs_pickle(name, place))
    ]


def _missing_shards(folder: Path) -> list[str]:
    """Weight files that the index of a folder names, and that are not there."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} is no index of weights: {error}; fetch it again") from error
    return sorted(shard for shard in shards if not (folder / shard).is_file())


# -- the hub


def _of_hub(name: str, revision: str | None, allow_pickle: bool) -> Path:
    """The snapshot of a hub model; asks the network where this machine has not all of it."""
    at = f"{name} at revision {revision}" if revision else name
    kept = _kept(name, revision)
    if kept is not None:
        try:
            check_files(name, kept, allow_pickle=allow_pickle)
        except ModelError:
            pass  # fetched below, or told what is lacking
        else:
            return kept
    if constants.is_offline_mode():
        raise ModelError(
            f"{_lacking(at, kept)}, and HF_HUB_OFFLINE is set; unset it to download, set HF_HOME "
            f"to a cache that has the model (now {constants.HF_HUB_CACHE}), or give its folder"
        )
    try:
        told = HfApi().model_info(name, revision=revision, timeout=WAIT_S)
        files = [one.rfilename for one in told.siblings or ()]
        _check_names(name, files, allow_pickle)
        # By the revision, not its commit: only so the cache knows it by that name later.
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=_wanted(files, allow_pickle),
                etag_timeout=WAIT_S,
            )
        )  # fmt: skip
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        raise ModelError(_why(error, at, _lacking(at, kept))) from error


def _kept(name: str, revision: str | None) -> Path | None:
    """The snapshot that this machine has of a model, whole or not."""
    for file in ("config.json", "modules.json"):
        found = try_to_load_from_cache(name, file, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _lacking(at: str, kept: Path | None) -> str:
    if kept is None:
        return f"there is no folder {at}, and no model of this name on this machine"
    missing = _missing_shards(kept) or ["model.safetensors"]
    return f"of the model {at} this machine lacks {missing[0]}"


def _why(error: Exception, at: str, lacking: str) -> str:
    """What went wrong on the hub, and what to do about it."""
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{at.partition(' ')[0]}"
        return (
            f"{at} is gated: accept its licence on {page}, then set HF_TOKEN to a token of that "
            "account (or run `hf auth login`)"
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"there is no {at} on the hub, though the model is there; fix the revision (a branch, "
            "tag or commit), or leave it out"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no folder {at}, and the hub has no such model, or only for some: check the "
            "spelling (OWNER/MODEL), or set HF_TOKEN if the model is private"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the hub refuses {at} (status {status}); set HF_TOKEN to a token that may read it"
    why = reason_of(error) or type(error).__name__
    if isinstance(error, httpx.TransportError):
        return (
            f"{lacking}, and the hub cannot be reached ({why}); check the name and the network, "
            "set HF_ENDPOINT to a mirror, set HF_HOME to a cache that has the model (now "
            f"{constants.HF_HUB_CACHE}), or give its folder"
        )
    return (
        f"could not download {at}: {why}; try again later (what was loaded is kept in "
        f"{constants.HF_HUB_CACHE}, set by HF_HOME), or give a folder"
    )
