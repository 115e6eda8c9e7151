"""Where a run departs from the protocol that it names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ddselect.protocol.recipe import ProtocolConfig
from ddselect.student.settings import StudentConfig

_TWINS = {"class_labels": ProtocolConfig.with_class_labels, "no_augmentation": ProtocolConfig.without_augmentation}


@dataclass(frozen=True)
class Case:
    """What a protocol's rules look at."""

    ipc: int  # images per class
    classes: int
    image_size: int  # side in pixels of a test image
    factor: int  # patches per side of a stitched image
    student: StudentConfig


def deviations(protocol: ProtocolConfig, presets: Mapping[str, ProtocolConfig], case: Case) -> list[str]:
    """Every key that is not as in ``conf/protocol/<name>.yaml``, e.g. ``protocol.epochs=100 (rded: 300)``.

    Where a rule stands there instead of a value, the text says what it gives for a case: ``2000 epochs at IPC 10``.
    """
    name, _, twin = protocol.name.partition("+")
    if name not in presets or (twin and twin not in _TWINS):
        return [f"protocol.name={protocol.name} (no protocol of conf/protocol)"]
    preset = _TWINS[twin](presets[name]) if twin else presets[name]
    rules = _by_rule(preset, case)
    pairs = [(field.name, getattr(protocol, field.name), getattr(preset, field.name)) for field in fields(preset)]
    return [
        f"protocol.{key}={_text(value)} ({protocol.name}: {rules.get(key, _text(usual))})"
        for key, value, usual in pairs
        if value != usual
    ]


def _by_rule(preset: ProtocolConfig, case: Case) -> dict[str, str]:
    """What the keys for which a preset has a rule come to."""
    student, at = case.student, f" at IPC {case.ipc}"
    resolved = preset.resolve(student.architecture, student.learning_rate, case.ipc, case.classes)
    epochs = f"{resolved.epochs} epochs{'' if preset.epochs else at}"
    found = {
        "epochs": f"{preset.steps} steps" if preset.steps else epochs,
        "steps": epochs,
        "batch_size": f"{resolved.batch(case.ipc, case.classes, case.ipc * case.classes)}{at}",
        "weight_decay": f"{_text(resolved.weight_decay)} for {case.classes} classes",
        "learning_rate": f"{_text(resolved.learning_rate)} for {student.name}",
        "zeta": f"{_text(resolved.zeta)} for {student.name}",
        "test_margin": f"{preset.margin(case.image_size):.6g} for {case.image_size} pixels",
    }
    found = {key: text for key, text in found.items() if not getattr(preset, key)}
    if not resolved.weight_decay:
        found.pop("weight_decay", None)
    if not preset.area[0]:
        smallest, by = (resolved.area[0], at) if resolved.area[0] else (1 / case.factor, f" at factor {case.factor}")
        found["area"] = f"{_text([round(smallest, 6), preset.area[1]])}{by}"
    return found


def _text(value: object) -> str:
    """A value as on the command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
