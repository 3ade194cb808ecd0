import pytest
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.adapter.strength import branch_weights

BOTH = (Branch.ARC, Branch.SIG)


@pytest.mark.parametrize(("slider", "arc", "sig"), [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.25, 0.75, 0.25)])
def test_the_slider_runs_from_spirit_to_form(slider, arc, sig):
    assert branch_weights(BOTH, slider) == {Branch.ARC: arc, Branch.SIG: sig}


def test_an_override_replaces_its_own_branch_only():
    assert branch_weights(BOTH, 0.25, id_weight=1.5) == {Branch.ARC: 1.5, Branch.SIG: 0.25}
    assert branch_weights(BOTH, 0.25, siglip_weight=0.0) == {Branch.ARC: 0.75, Branch.SIG: 0.0}


@pytest.mark.parametrize("name", ["resemblance", "id_weight", "siglip_weight"])
def test_what_is_no_number_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is nan; expected a finite number"):
        branch_weights(BOTH, **{"resemblance": 0.5, name: float("nan")})


@pytest.mark.parametrize("branch", BOTH)
def test_one_branch_ignores_the_slider_but_not_its_override(branch):
    assert branch_weights([branch], 0.0) == branch_weights([branch], 1.0) == {branch: 1.0}
    assert branch_weights([branch], 0.5, id_weight=0.4, siglip_weight=0.4) == {branch: 0.4}
