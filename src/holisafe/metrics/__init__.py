"""What is counted: rates with intervals that allow for shared images, paired runs, agreement of judges, calibration.

`summarise` gives the figures of a run, `compare` those of two; `HEADLINE` says what the headline figures are.
"""

from holisafe.metrics._agreement import Agreement, agreement
from holisafe.metrics._by_value import summarise_values
from holisafe.metrics._columns import ASR, asr_name
from holisafe.metrics._degenerate import Degenerate, Degeneration, degenerate
from holisafe.metrics._headline import FIGURES, HEADLINE, RR_PARTS, HeadlineFigure, figures, headline
from holisafe.metrics._judge_error import (
    LEAST_J,
    Correction,
    JudgeErrorRates,
    Labelled,
    corrected_rate,
    judge_error,
    prediction_powered_rate,
)
from holisafe.metrics._judges import (
    PairAgreement,
    RankCorrelation,
    disagreements,
    krippendorff_alpha,
    krippendorff_figure,
    most_by_chance,
    pairwise_agreement,
    rank_correlation,
)
from holisafe.metrics._multiple import HOLM, holm
from holisafe.metrics._paired import Comparison, Difference, compare, compare_judges
from holisafe.metrics._paired_tests import TEST_NAMES, PairedTest
from holisafe.metrics._rates import (
    PARTS,
    Part,
    cluster_name,
    describe_judge,
    is_counted,
    is_right,
    judge_of,
    part_name,
    part_of,
)
from holisafe.metrics._repeats import Repeats, compare_repeats, pooled, summarise_repeats
from holisafe.metrics._shares import mean_share_figure
from holisafe.metrics._sharing import ALPHA, Sharing, may_share
from holisafe.metrics._summary import FEW, GROUP_RATES, Figure, Groups, Summary, summarise
from holisafe.metrics._twins import twin_pairs
from holisafe.metrics._unjudged import (
    Unjudged,
    checked_summary,
    judges_with_figures,
    unjudged,
    withheld,
)
from holisafe.metrics.calibration import (
    ClassScores,
    ReliabilityBin,
    auprc,
    auroc,
    bootstrap_figure,
    conformal_spread,
    conformal_threshold,
    equal_mass_calibration_error,
    equal_mass_reliability_curve,
    expected_calibration_error,
    negative_log_likelihood,
    per_class,
    reliability_curve,
    share_figure,
    softmax,
)
from holisafe.metrics.power import EFFECTS, Design, PowerRow, power_table, smallest_effect
from holisafe.metrics.temperature import Temperature, fit_temperature

__all__ = [
    "ALPHA",
    "ASR",
    "EFFECTS",
    "FEW",
    "FIGURES",
    "GROUP_RATES",
    "HEADLINE",
    "HOLM",
    "LEAST_J",
    "PARTS",
    "RR_PARTS",
    "TEST_NAMES",
    "Agreement",
    "ClassScores",
    "Comparison",
    "Correction",
    "Degenerate",
    "Degeneration",
    "Design",
    "Difference",
    "Figure",
    "Groups",
    "HeadlineFigure",
    "JudgeErrorRates",
    "Labelled",
    "PairAgreement",
    "PairedTest",
    "Part",
    "PowerRow",
    "RankCorrelation",
    "ReliabilityBin",
    "Repeats",
    "Sharing",
    "Summary",
    "Temperature",
    "Unjudged",
    "agreement",
    "asr_name",
    "auprc",
    "auroc",
    "bootstrap_figure",
    "checked_summary",
    "cluster_name",
    "compare",
    "compare_judges",
    "compare_repeats",
    "conformal_spread",
    "conformal_threshold",
    "corrected_rate",
    "degenerate",
    "describe_judge",
    "disagreements",
    "equal_mass_calibration_error",
    "equal_mass_reliability_curve",
    "expected_calibration_error",
    "figures",
    "fit_temperature",
    "headline",
    "holm",
    "is_counted",
    "is_right",
    "judge_error",
    "judge_of",
    "judges_with_figures",
    "krippendorff_alpha",
    "krippendorff_figure",
    "may_share",
    "mean_share_figure",
    "most_by_chance",
    "negative_log_likelihood",
    "pairwise_agreement",
    "part_name",
    "part_of",
    "per_class",
    "pooled",
    "power_table",
    "prediction_powered_rate",
    "rank_correlation",
    "reliability_curve",
    "share_figure",
    "smallest_effect",
    "softmax",
    "summarise",
    "summarise_repeats",
    "summarise_values",
    "twin_pairs",
    "unjudged",
    "withheld",
]
