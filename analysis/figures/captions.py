"""What stands below every figure: what it shows, what bands are, how many seeds, and whether lines are smoothed."""

from collections.abc import Mapping

from analysis.figures.gallery import FIGURES, MOST_FAMILIES, OF_FAMILIES, Material
from analysis.load import Records

_CURVES = (
    "Mean over seeds of the {mode} policy's return at every evaluation. Band: pointwise 95 % bootstrap interval of the "
    "mean. {n}. Not smoothed."
)
_SCORES = (
    "Final score of the {mode} policy, the mean over the last tenth of the evaluations. Large marker and line: mean "
    "with its 95 % bootstrap interval; upright bar: interquartile mean; dots: single seeds. {n}."
)
_LAB = "Measured in the laboratory; the unit is a policy."
CAPTIONS: Mapping[str, str] = {  # by the beginning of a figure's name
    "learning_curves_stochastic": _CURVES.format(mode="stochastic", n="{n}"),
    "learning_curves_deterministic": _CURVES.format(mode="deterministic", n="{n}"),
    "learning_curves_by_time": "The stochastic policy's mean return over a seed's share of the wall time of its block. "
    "Band: pointwise 95 % bootstrap interval of the mean. {n}. Not smoothed.",
    "final_scores_stochastic": _SCORES.format(mode="stochastic", n="{n}"),
    "final_scores_deterministic": _SCORES.format(mode="deterministic", n="{n}"),
    "sample_efficiency": "Interquartile mean of normalised scores over runs and tasks, against the share of the "
    "budget. Band: pointwise 95 % stratified bootstrap interval. {n}. Linear between evaluations, not smoothed.",
    "performance_profiles": "Share of runs with a normalised final score (0 random, 1 reference) above τ. Band: "
    "pointwise 95 % stratified bootstrap interval. {n}.",
    "probability_of_improvement": "How often a run of an arm beats one of the control, averaged over tasks, with its "
    "95 % bootstrap interval. {n}.",
    "forest": "Effects in units of their margin s, in the direction claimed, with intervals that hold all at once at "
    "95 %; the verdict is where an interval lies to −1, 0 and 1 (upright strokes: the margins). Pairs of seeds stand "
    "beside each row.",
    "heat_map": "Mean normalised final score of the stochastic policy, with the number of runs n.",
    "factor_curves": "Mean normalised final score of the stochastic policy over a factor's levels, one line for the "
    "arms that differ in this factor alone. Bars: 95 % bootstrap intervals of the mean. {n}.",
    "beta_curves": "True score and share of cheating over β: mean over seeds with its 95 % bootstrap interval, beside "
    "the exact optimum of the same references. {n}.",
    "spaghetti": "Every seed's own return (stochastic policy) over environment steps; thick: their mean. Not smoothed.",
    "diagnostics": "Mean over seeds in 40 equal parts of the budget; without a band. {n}.",
    "design_claims": "Effects at four readings in units of their margin (grey: within it), in the direction claimed, "
    "with intervals that hold for all rows of a reading at once at 95 %. The unit is a seed, and over the "
    "space a setting. What lies beyond the edge ends there.",
    "design_expected_best": "The best of k settings that were tried, expected and cross-fitted: chosen by one seed, "
    "scored by the others. Bars: 95 % bootstrap intervals over settings.",
    "design_sensitivity": "Each arm at its per-task best, against what it loses by one setting for all tasks; both "
    "cross-fitted. Bars: 95 % delete-half jackknife intervals over settings.",
    "design_left_out": "Chosen settings on fresh seeds: mean with Student's 95 % interval over seeds. These tasks say "
    "nothing about another one.",
    "design_optimism": "The best setting of the whole search and of random halves of it on fresh seeds, with Student's "
    "95 % interval over seeds, beside its score on the seeds that chose it, which is too high.",
    "design_responses": "Mean over all other settings, in bins of each key's range. Bars: Student's 95 % interval over "
    "settings. Triangles: where the arms' own numbers lie.",
    "design_contours": "A fit of second degree in the two keys that foretell the score best, shown with its "
    "cross-validated R² and only where that is above 0. Dots: settings, coloured by their score.",
    "bias_variance_plane": f"In units of the full return's standard deviation, given state and action: root mean "
    f"squares over policies; λ from 0 to 1 is a curve. Thin: single policies. Triangle: the true advantages. GRPO, "
    f"whose unit is another, is left out. {_LAB}",
    "gradient_cosine": f"Mean cosine of two batches' gradients. Band: Student's 95 % interval over policies. {_LAB}",
    "policies": f"A dot for each policy, joined across targets; a bar: their mean. {_LAB}",
    "smallest_error": f"The estimator with the smallest error of the gradient at its best scale; +n: as many more are "
    f"not told apart. Left out: estimators whose samples lack a policy's rare actions. {_LAB}",
    "variance_decomposition": f"Parts of single steps' variance, relative to the sum without a baseline. {_LAB}",
    "baseline_effect": f"Gradient variance relative to no baseline: geometric mean, Student's 95 % interval. {_LAB}",
}


def caption(name: str, material: Material | None = None) -> str:
    """What stands below the figure called `name`; "" for one that nothing is known of."""
    known = max((each for each in CAPTIONS if name.startswith(each)), key=len, default="")
    if not known:
        return ""
    text = CAPTIONS[known].replace("{n}", "" if material is None else _seeds(material.records))
    return text if material is None or name not in FIGURES else text + _left_out(name, material)


def _left_out(name: str, material: Material) -> str:
    """What a figure of so many arms does not show; nothing where it shows all."""
    if not material.note:
        return ""
    families = f"at most {MOST_FAMILIES} families of arms: those with the highest mean scores"
    return f" Shown are {families if name in OF_FAMILIES else material.note}."


def _seeds(records: Records) -> str:
    """`n = 10 seeds for each arm`, or their range."""
    counts = records.runs[records.runs["status"] == "done"].groupby(["task", "arm"]).size()
    if counts.empty:
        return "No run is done"
    low, high = int(counts.min()), int(counts.max())
    return f"n = {low if low == high else f'{low} to {high}'} {'seed' if high == 1 else 'seeds'} for each arm"
