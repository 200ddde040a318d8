"""Opening `--data`: one feed for each argument, joined, preprocessed, checked and streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from normdiag.data.check import checked
from normdiag.data.code import code_feed
from normdiag.data.feed import Feed
from normdiag.data.files import file_feed, files_of
from normdiag.data.fits import needed_size, other_fits
from normdiag.data.images import Decoding, is_image
from normdiag.data.join import joined, spec_of
from normdiag.data.noise import parse_input_shape, random_feed, shape_notes
from normdiag.data.options import DataOptions, SourceInfo
from normdiag.data.order import in_order
from normdiag.data.preprocess import declared_layout, describe, is_pixels, recipe_for
from normdiag.data.recipe import Recipe, parse_recipe
from normdiag.data.specs import Spec, parse_spec
from normdiag.errors import InputError, UsageError
from normdiag.records import Batch, BatchForm, InputSpec, carries_state

NOT_RUN = (
    "which is run only with --allow-config-code: read it first; or name the data yourself with --data, or read no "
    "configuration with --no-config"
)


@dataclass(frozen=True)
class DataSource:
    """Data that can be iterated again and again; each time it is read anew, batch by batch."""

    info: SourceInfo
    start: Callable[[], Iterator[Batch]]

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches from the first on. Raises InputError for data that cannot be run."""
        return self.start()


def open_data(
    specs: Sequence[str],
    options: DataOptions | None = None,
    inputs: Sequence[InputSpec] = (),
    form: BatchForm | None = None,
) -> DataSource:
    """Open the data that the user named: one argument, or one for each input of the model.

    Each of `specs` is `[NAME=]TARGET` (see `parse_spec`): NAME is a model's input; without names, several arguments go
    to the inputs in order. `inputs` are what the model declares, if it does, `form` what it takes of tuples from code.
    Headers are read here, the rest later.
    Raises InputError for bad data and UsageError for options that do not fit.
    """
    options = options or DataOptions()
    if not specs:
        raise UsageError("no data was given: use --data")
    parsed = [parse_spec(text, [spec.name for spec in inputs]) for text in specs]
    state = carries_state([spec.name for spec in inputs] or [spec.name for spec in parsed if spec.name])
    if state is not None:
        options = replace(options, shuffled=False)
    recipe = parse_recipe(options.preprocess) if options.preprocess else None
    feeds = [
        _open(spec, index, len(parsed), options, inputs, form or _form(inputs), recipe)
        for index, spec in enumerate(parsed)
    ]
    _check_options(options, feeds, recipe)
    source = ", ".join(specs)
    info = _info(source, feeds, options, inputs, recipe)
    if state is not None:
        note = f"read in order: the input {state!r} carries state from sample to sample"
        info = replace(info, notes=(*info.notes, note))
    return DataSource(info, partial(_batches, info, feeds, options, inputs, recipe))


def _batches(
    info: SourceInfo, feeds: Sequence[Feed], options: DataOptions, inputs: Sequence[InputSpec], recipe: Recipe | None
) -> Iterator[Batch]:
    size = min(options.batch_size, options.max_samples or options.batch_size)
    feeds, cut = in_order(feeds, options)
    batches = joined(feeds, size, inputs, recipe, options.layout)
    limit = None if cut else options.max_samples
    return checked(batches, info.source, limit, may_be_empty=options.shard[1] > 1, numbered=cut)


def _form(inputs: Sequence[InputSpec]) -> BatchForm:
    """A tuple from code holds what the model declares."""
    return BatchForm(max(len(inputs), 1), tuple(spec.name for spec in inputs))


def _open(
    spec: Spec,
    index: int,
    count: int,
    options: DataOptions,
    inputs: Sequence[InputSpec],
    form: BatchForm,
    recipe: Recipe | None,
) -> Feed:
    """The feed of one argument. Of several without a name, each is for the input of its place."""
    if count > 1 and not spec.name and inputs:
        inputs = inputs[index : index + 1]
    elif spec.name:
        inputs = [i for i in inputs if i.name == spec.name] or [InputSpec(spec.name, "float32", None)]
    if spec.kind == "random":
        return random_feed(spec.text, inputs, options.input_shapes, options.max_samples, options.seed + index)
    names = [] if spec.name else [i.name for i in inputs]
    if spec.kind == "code":
        if not options.allow_code:
            raise InputError(f"the configuration gives code as data ({spec.text}), {NOT_RUN}")
        alone = options.shuffled and count == 1  # beside others it must keep their order
        whole = form if count == 1 and not spec.name else BatchForm(lists=form.lists, others=form.others)
        return code_feed(spec.target, names, spec.name, options.seed if alone else None, whole)
    sole = inputs[0] if len(inputs) == 1 else None
    shapes = [parse_input_shape(text) for text in options.input_shapes]
    given = next((each for each in shapes if each.name in ("", spec.name, sole.name if sole else "")), None)
    decoding = Decoding(options.resize, options.crop, _gray(options, inputs))
    if recipe is not None and recipe.fit is not None:
        decoding = replace(decoding, fit=recipe.fit, size=needed_size(options, inputs))
    return file_feed(spec, names, decoding, sole, given)


def other_image_fits(specs: Sequence[str], options: DataOptions, inputs: Sequence[InputSpec]) -> dict[str, str]:
    """Other ways to bring these images to one shape, as keys of a recipe in words; none for what is no images."""
    parsed = [parse_spec(text, [spec.name for spec in inputs]) for text in specs]
    if len(parsed) != 1 or parsed[0].kind not in ("path", "glob"):
        return {}
    paths = files_of(parsed[0])
    return other_fits(paths, options, inputs) if all(map(is_image, paths)) else {}


def _gray(options: DataOptions, inputs: Sequence[InputSpec]) -> bool | None:
    """Whether images are to be gray: as the user says, else as the sole input declares, else unknown."""
    spec = inputs[0] if len(inputs) == 1 else None
    layout = declared_layout(spec)
    if options.grayscale is not None or layout is None or spec is None or spec.shape is None:
        return options.grayscale
    return spec.shape[1 if layout == "nchw" else 3] == 1


def _check_options(options: DataOptions, feeds: Sequence[Feed], recipe: Recipe | None) -> None:
    kinds = {feed.kind for feed in feeds}
    images = options.resize is not None or options.crop is not None or options.grayscale is not None
    if images and "images" not in kinds:
        raise UsageError("--resize, --crop and --grayscale are for image files; the data is none")
    if recipe is not None and recipe.fit is not None and "images" not in kinds:
        raise UsageError("--preprocess fit= is for image files; the data is none")
    if options.input_shapes and not kinds & {"random", "audio"}:
        raise UsageError("--input-shape is for --data random, and for recordings")
    if options.preprocess and kinds == {"random"}:
        raise UsageError("--preprocess does not apply to --data random, which is standard normal already")
    totals = {feed.source: feed.total for feed in feeds if feed.total is not None}
    if len(set(totals.values())) > 1:
        listed = ", ".join(f"{source}: {total}" for source, total in totals.items())
        raise InputError(f"the inputs differ in their number of samples ({listed})")


def _info(
    source: str, feeds: Sequence[Feed], options: DataOptions, inputs: Sequence[InputSpec], recipe: Recipe | None
) -> SourceInfo:
    totals = [feed.total for feed in feeds if feed.total is not None]
    shapes, read = shape_notes(inputs, options.input_shapes), (note for feed in feeds for note in feed.notes)
    total = min([totals[0], options.max_samples or totals[0]]) if totals else None
    return SourceInfo(
        source,
        total,
        random=any(feed.kind == "random" for feed in feeds),
        pixels=any(is_pixels(fact.dtype) for feed in feeds for fact in feed.facts or ()),
        preprocess=_describe(feeds, inputs, recipe),
        notes=(*shapes, *read, *_range_notes(feeds, recipe)),
    )


def _describe(feeds: Sequence[Feed], inputs: Sequence[InputSpec], recipe: Recipe | None) -> str | None:
    """The preprocessing as far as it is known from the headers. User code gets what the user asks for."""
    if all(feed.kind == "random" for feed in feeds):
        return None
    facts = [fact for feed in feeds if feed.kind != "random" for fact in feed.facts or ()]
    if not facts:
        return describe([recipe], asked=True)
    sole = len(facts) == len(feeds) == 1
    specs = [spec_of(inputs, fact.name, index) for index, fact in enumerate(facts)]
    used = [recipe_for(f.shape, f.dtype, recipe, s, sole=sole) for f, s in zip(facts, specs, strict=True)]
    return describe(used, asked=recipe is not None)


def _range_notes(feeds: Sequence[Feed], recipe: Recipe | None) -> tuple[str, ...]:
    """A warning where floats that a preset takes to be in [0, 1] are plainly not."""
    if recipe is None or recipe.scale is not None:
        return ()
    notes = []
    for feed in feeds:
        if feed.kind == "arrays" and any(fact.dtype.kind == "f" for fact in feed.facts or ()):
            top = max(float(array.max()) for array in next(feed.read(1)).arrays if array.dtype.kind == "f")
            if top > 1.5:
                notes.append(
                    f"{feed.source} holds floats up to {top:.4g}; --preprocess {recipe.text} takes floats to be "
                    "in [0, 1]: add scale=1/255 if they are 0 to 255"
                )
    return tuple(notes)
