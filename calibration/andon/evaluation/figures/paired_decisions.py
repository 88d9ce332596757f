"""Compare the decisions of two models about the same parts: a table of two by two, and the exact test of McNemar.

Parts about which both models agree contain no information about their difference. Of the others, each model rejects half if the
models reject equally often. The test is therefore the two-sided binomial test at 1/2 (McNemar, Psychometrika 12, 1947). It is
valid if the parts are independent.
"""

from msgspec import Struct
from scipy.stats import binomtest

from andon.calibration.audit import clopper_pearson
from andon.runtime.calibration_facts import percent, percent_up


class PairedDecisions(Struct, frozen=True, kw_only=True):
    """Number of parts by the decisions of both models."""

    both_pass: int
    only_new_rejects: int
    only_old_rejects: int
    both_reject: int

    @property
    def parts(self) -> int:
        """Number of parts that both models judged."""
        return self.both_pass + self.discordant + self.both_reject

    @property
    def discordant(self) -> int:
        """Number of parts about which the models disagree."""
        return self.only_new_rejects + self.only_old_rejects

    @property
    def p_value(self) -> float:
        """p-value of "both models reject equally often" (exact test of McNemar, two-sided). 1 if they never disagree."""
        if not self.discordant:
            return 1.0
        return float(binomtest(self.only_new_rejects, self.discordant, 0.5).pvalue)

    def most_discordant(self, confidence: float = 0.95) -> float:
        """Return the upper bound of the share of parts about which the models disagree.

        Without discordant parts it is at most 3 / `parts`, at 95 % confidence.

        >>> decisions = PairedDecisions(both_pass=3000, only_new_rejects=0, only_old_rejects=0, both_reject=0)
        >>> round(decisions.most_discordant(), 7)
        0.0009981
        """
        return clopper_pearson(self.discordant, self.parts, confidence).upper

    def sentence(self, confidence: float = 0.95) -> str:
        """Return the comparison as a readable sentence, for two models that are called old and new."""
        sure, share = percent(confidence), percent_up(self.most_discordant(confidence))
        if not self.discordant:
            agree = f"the models agree about all {self.parts} parts"
            return f"{agree}; with {sure} confidence they differ in at most {share} of such parts"
        if self.p_value >= 1 - confidence:
            finding = "No difference between their reject shares is proven"
        elif self.only_new_rejects > self.only_old_rejects:
            finding = "The new model rejects more parts than the old one"
        else:
            finding = "The old model rejects more parts than the new one"
        return (
            f"the models disagree about {self.discordant} of {self.parts} parts: only the new one rejects "
            f"{self.only_new_rejects}, only the old one {self.only_old_rejects}. {finding} (exact test of McNemar, "
            f"p = {self.p_value:.2g}). With {sure} confidence they differ in at most {share} of such parts"
        )
