"""The same short training twice: equal to the bit with `train.deterministic`, and what that costs."""

from findings import Findings
from short_training import ATTENTION, TINY, settings_of, step_ms, train_shortly


def check(findings: Findings) -> None:
    few, steps = (8, 4) if findings.rehearses else (64, 10)
    batch = f"train.batch_size={few}"
    resnet = ["train.learning_rate=0.001", "train.precision=bf16", f"train.batch_size={few}"]
    convnext = ["train.learning_rate=0.001", "train.warmup_steps=0", "train.ema_decay=null", "model.layers=2"]
    convnext += [f"train.batch_size={few // 4}", f"train.micro_batch={few // 4}"]
    cases = {
        "attention fp32": (TINY if findings.rehearses else ATTENTION, [batch, "train.precision=fp32"]),
        "attention bf16": (ATTENTION, [batch, "train.precision=bf16"]),
        "attention bf16 ZeRO-2": (ATTENTION, [batch, "train.precision=bf16", "train.zero_stage=2"]),
        "resnet bf16 (gavt_c)": ("gavt_c", resnet),
        "convnext bf16 (gavt_base)": ("gavt_base", convnext),
    }
    for name, (config, words) in list(cases.items())[: 1 if findings.rehearses else None]:
        pace = {}
        for deterministic in (True, False):
            case = f"{name}, deterministic {str(deterministic).lower()}"
            if not findings.has_time(8, case):
                continue
            with findings.judged(case) as found:
                chosen = [*words, "train.compile=false", f"train.deterministic={str(deterministic).lower()}"]
                settings = settings_of(config, *chosen)
                one, other = (train_shortly(settings, steps).run for _ in range(2))
                same = one.losses == other.losses
                pace[deterministic] = min(step_ms(one), step_ms(other))
                found |= {"same": same, "step_ms": pace[deterministic]} | ({"ok": same} if deterministic else {})
        if len(pace) == 2:
            findings.say(f"{name}: what it costs", share=round(pace[True] / pace[False] - 1, 3))
