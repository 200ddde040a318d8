"""ND112: calls in a PyTorch file that have nothing to do with a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule
from normdiag.wording import abridged


@rule("ND112", "code-in-file", "warning")
def code_in_file(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """The file runs other programs, opens files or the net when torch or pickle loads it.

    What it means: a PyTorch file is a program for Python's unpickler. This one names functions that no model needs,
    such as posix.system or builtins.eval. normdiag reads the weights without running anything of it (only --trust
    would), so nothing has happened yet.

    Why it matters: torch.load with weights_only=False, joblib and pickle call these functions before anybody sees a
    weight. It is how malware is put into models. Silence is no verification of the opposite: a list of names cannot be
    complete, which is why nothing here relies on it.

    How to fix it: do not load the file. Get the model from whoever made it, as safetensors, or keep the weights alone:
    torch.load with weights_only=True refuses the rest.

    Source: https://docs.python.org/3/library/pickle.html; the list of names follows picklescan,
    https://github.com/mmaitre314/picklescan.
    """
    names = context.report.model.suspicious
    if names:
        text = f"the file calls {abridged(names, 5)} when it is unpickled; nothing of it was run here"
        remedy = "Do not load it with torch.load(weights_only=False) or --trust; get the weights as safetensors."
        yield FindingDraft((), text, remedy, evidence={"names": ", ".join(names[:20]), "count": len(names)})
