"""Did it generate the person, or paste the photo? WithAnyone (arXiv 2510.14975), section 4."""

SAME_ANGLE = 1e-6  # radians


def copy_paste(theta_gt: float, theta_gr: float, theta_tr: float) -> float:
    """(theta_gt - theta_gr) / theta_tr from the angles generated-truth, generated-reference and truth-reference.

    By the triangle inequality between -1, the ground truth itself, and +1, the reference itself. 0 where ground truth
    and reference are one (theta_tr below 1e-6): then nothing can be said, as in the released evaluator.
    """
    return 0.0 if theta_tr < SAME_ANGLE else (theta_gt - theta_gr) / theta_tr
