"""What a report says of the tuning."""

from analysis.report.document import Part
from analysis.tables.formats import interval_text, optional_text
from analysis.tables.tuned import Tuned, overall_optimism, setting_table, winner_table


def parts(found: Tuned) -> list[Part]:
    """What the report says of the tuning."""
    return [
        Part("Tuning", tuple(_sentences(found)), tables=(winner_table(found),)),
        Part("Every setting that was tried", tables=(setting_table(found),)),
    ]


def _sentences(found: Tuned) -> list[str]:
    lines = [_progress(found)]
    overall = overall_optimism(found)
    if overall is not None:
        measured, expected, arms = overall
        lines.append(
            f"Optimism over all {arms} winners, normalised (0 random, 1 reference): {interval_text(measured, 3)}; "
            f"expected of equally good settings: {optional_text(expected, 3)}."
        )
    steps = found.runs["env_steps"].astype(float).sum()
    hours = found.runs["cpu_seconds"].astype(float).sum() / 3600
    return [*lines, f"The tuning took {steps:,.0f} environment steps and {hours:.2f} CPU hours."]


def _progress(found: Tuned) -> str:
    finished = sum(not setting.trouble for arm in found.arms for setting in arm.settings)
    failed = sum("failed" in setting.trouble for arm in found.arms for setting in arm.settings)
    planned = sum(arm.planned for arm in found.arms)
    winners = sum(arm.winner is not None for arm in found.arms)
    judged = sum(bool(arm.fresh) for arm in found.arms)
    return (
        f"{finished} of {planned} settings are done{f', {failed} failed' if failed else ''}; of {len(found.arms)} arms "
        f"(on a task each), {winners} have a winner and {judged} of those are judged. All other tables and figures are "
        "of the winners on the main pool."
    )
