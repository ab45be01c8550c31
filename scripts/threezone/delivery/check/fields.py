"""Whether the API server would take the objects: by a dry run, or by the schemas that the last lab served."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus

from threezone.clients.kubernetes.api import Forbidden, Json
from threezone.delivery.check import schema
from threezone.delivery.check.cluster import Answer
from threezone.delivery.check.findings import Finding
from threezone.delivery.check.masks import hide
from threezone.delivery.check.model import Group, Rendering, annotated, id_of
from threezone.delivery.check.order import CRD
from threezone.delivery.check.schemas import Kept
from threezone.delivery.check.variables import plain
from threezone.flux.objects import KUSTOMIZE

Found = tuple[Finding, str]  # a finding, and the path of its field
UNKNOWN = re.compile(r"(\.[^\s:]+): field not declared in schema")
TYPED = re.compile(r"(\.[^\s:]+): (expected .*)")
INVALID = re.compile(r"is invalid: \[?([\w.\[\]]+): ")
# kustomize-controller takes every invalid change for one that it may replace the object for (fluxcd/pkg, ssa/errors).
IMMUTABLE = re.compile(r"immutable|may not be changed|updates to .* are forbidden|cannot change roleRef", re.IGNORECASE)
NO_DRY_RUN = "does not support dry run"


def applied(rendering: Rendering) -> list[tuple[Group, Json]]:
    """The objects that Flux applies to this cluster, where they are known as they will be."""
    return [
        (group, item)
        for group, item in rendering.objects
        if group.complete and "kubeConfig" not in group.spec and not is_skipped(item)
    ]


def is_skipped(item: Json) -> bool:
    """Whether Flux leaves an object alone (kustomize-controller: ExclusionSelector)."""
    disabled = annotated(item, f"{KUSTOMIZE}/reconcile") == "disabled"
    return disabled or annotated(item, f"{KUSTOMIZE}/ssa").lower() == "ignore"


def brought_schemas(rendering: Rendering) -> dict[tuple[str, str], Json]:
    """The schemas of the kinds that the commit brings itself."""
    found: dict[tuple[str, str], Json] = {}
    for _, item in rendering.objects:
        if id_of(item)[:2] == CRD:
            found |= schema.of_definition(item)
    return found


def of_answers(
    groups: Sequence[Group], answers: Sequence[Answer], brought: dict[tuple[str, str], Json], kept: Kept
) -> tuple[list[Found], list[str]]:
    """The findings of dry runs, one for each group in `groups`, and what could not be checked."""
    found: list[Found] = []
    unchecked: list[str] = []
    for group, answer in zip(groups, answers, strict=True):
        kind = (str(answer.item.get("apiVersion")), str(answer.item.get("kind")))
        what = id_of(answer.item)
        if answer.skipped or (answer.refusal is not None and kind in brought):
            # The cluster does not know the kind as the commit brings it.
            checked = of_schema(answer.item, brought, kept)
            found += checked or ()
            unchecked += [f"the fields of {what}: {answer.skipped}"] if checked is None else []
        elif isinstance(answer.refusal, Forbidden) or NO_DRY_RUN in answer.words:
            unchecked.append(f"the fields of {what}: {answer.words}")
        elif answer.refusal is not None:
            found.append(_refused(group, answer))
    return found, unchecked


def _refused(group: Group, answer: Answer) -> Found:
    """A finding for what the API server refuses, in its own words."""
    words, what = _without_values(answer), str(id_of(answer.item))
    status = answer.refusal.status if answer.refusal else 0
    if unknown := UNKNOWN.search(words):
        message = f"the field {unknown[1].lstrip('.')} does not exist: Flux drops it, or fails"
        return Finding("error", "field", what, message, "correct the name, or remove the field"), unknown[1]
    if typed := TYPED.search(words):
        return Finding("error", "field", what, f"{typed[1].lstrip('.')}: {typed[2]}", "correct the value"), typed[1]
    path = f".{found[1]}" if (found := INVALID.search(words)) else ""
    if status == HTTPStatus.NOT_FOUND and not id_of(answer.item).namespace:
        return Finding("error", "namespace", what, words, "set metadata.namespace, or spec.targetNamespace"), ""
    if status in (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT) and answer.live is not None:
        forced = group.spec.get("force") or annotated(answer.item, f"{KUSTOMIZE}/force") == "enabled"
        if forced:
            message = f"Flux deletes and creates it again, for the change is not possible: {words}"
            return Finding("warning", "immutable", what, message, "see that nothing is lost"), path
        if IMMUTABLE.search(words):
            fix = f"give it another name, or annotate it with {KUSTOMIZE}/force: enabled: Flux then replaces it"
            return Finding("error", "immutable", what, words, fix), path
    return Finding("error", "refused", what, f"the API server refuses it: {words}", "correct the object"), path


def _without_values(answer: Answer) -> str:
    """The server's words without the values of a Secret."""
    if id_of(answer.item)[:2] != ("", "Secret"):
        return answer.words
    values = {str(value) for part in ("data", "stringData") for value in (answer.item.get(part) or {}).values()}
    return str(hide(answer.words, values | set(plain(answer.item).values())))


def of_schema(item: Json, brought: dict[tuple[str, str], Json], kept: Kept) -> list[Found] | None:
    """The findings about an object by its schema: the one that the commit brings, else one of the cache; None: none."""
    kind = (str(item.get("apiVersion")), str(item.get("kind")))
    schemas = kept.of(kind[0])
    known = brought.get(kind) or (schemas.kinds.get(kind) if schemas else None)
    if known is None:
        return None
    wrong = schema.check(item, known, schemas.named if schemas else {})
    fix = "correct the field"
    return [
        (Finding("error", "field", str(id_of(item)), f"{each.path.lstrip('.')}: {each.words}", fix), each.path)
        for each in wrong
    ]


def without_lab(rendering: Rendering, kept: Kept) -> Iterator[Found | str]:
    """The findings by the schemas of the cache; a text for a kind that is in none of them."""
    brought = brought_schemas(rendering)
    for _, item in applied(rendering):
        checked = of_schema(item, brought, kept)
        if checked is None:
            yield f"the fields of {item.get('kind')} ({item.get('apiVersion')}): no lab and no schema of it"
        else:
            yield from checked
