import subprocess
import sys

import pytest

from posttrain_diag.errors import UsageError
from posttrain_diag.zoo import list_families, list_models, resolve_model


def test_models():
    models = {model.name: model for model in list_models()}
    assert list(models)[:5] == ["base", "frontier", "teacher", "ckA", "ckB"]
    assert models["base"].spec == "zoo:base"
    assert all(
        models[name].shipped and models[name].path == resolve_model(f"zoo:{name}") for name in ("base", "teacher")
    )
    assert all(model.shipped for model in models.values() if model.world == "strings")
    assert (models["ckB"].architecture, models["ckB"].tokenizer) == ("llama", "char")


def test_families():
    families = {fam.name: fam for fam in list_families()}
    assert {*"RPQWSNHTUG", "F", "F15", "mastered"} <= set(families)
    assert families["F15"].model == "zoo:frontier"
    assert families["S"].tasks == "builtin:zoo/S"
    assert families["N"].closed_form_p == pytest.approx(0.0883, abs=1e-4)
    assert families["H"].closed_form_p == pytest.approx(0.1596, abs=1e-4)
    assert {fam.bottleneck for fam in families.values()} == {"saturated", "reshaping", "support", "format", "guided"}
    assert all(fam.tasks_path.is_file() for fam in families.values())


@pytest.mark.parametrize("spec", ["zoo:bass", "base", "zoo:"])
def test_unknown_models_list_names_and_how_to_build(spec):
    with pytest.raises(UsageError, match=r"zoo:base, zoo:frontier.*diag zoo build"):
        resolve_model(spec)


def test_listing_needs_no_torch():
    code = (
        "import sys; from posttrain_diag import zoo; zoo.list_models(); zoo.list_families(); zoo.truth_table();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
