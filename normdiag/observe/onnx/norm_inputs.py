"""What enters norms, fetched whole: for a few samples alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from normdiag.observe.norm_rows import norm_rows
from normdiag.observe.onnx.channels import norm_input
from normdiag.observe.onnx.edit import GraphEdit
from normdiag.observe.onnx.plan import UNKNOWN, Plan
from normdiag.observe.onnx.session import Session, Setting, Values
from normdiag.records.precision import NormRows


class NormInputs:
    """A model whose further outputs are the inputs of the norms that normalize by groups."""

    def __init__(self, proto: Any, plan: Plan, setting: Setting) -> None:
        """Raises InputError where onnxruntime refuses the model."""
        edit = GraphEdit(proto)
        wide = {site: norm_input(edit, site, plan.types.get(site.input, UNKNOWN))[0] for site in plan.groups}
        self._names = {site: edit.output(name) for site, name in wide.items()}
        self._session = Session(edit.build(), setting)

    def rows(self, feed: Values, samples: int) -> Mapping[str, NormRows]:
        """The groups of each norm, by the name of its layer."""
        if not self._names:
            return {}
        values = self._session.run(list(dict.fromkeys(self._names.values())), feed)
        return {
            site.layer.name: norm_rows(
                values[name],
                site.layer.kind,
                site.layer.eps,
                samples=samples,
                axes=site.axes,
                channel_axis=site.channel_axis,
                groups=site.layer.groups if site.layer.kind == "group_norm" else None,
            )
            for site, name in self._names.items()
        }
