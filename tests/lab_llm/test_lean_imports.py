"""A language-model job starts without packages that it never uses."""

import json
import subprocess
import sys

CODE = """
import json, sys
import lab_llm.training.trainer
started = sorted({name.partition(".")[0] for name in sys.modules})
import sklearn.metrics
print(json.dumps([started, sklearn.metrics.accuracy_score([1, 0], [1, 1])]))
"""


def test_the_trainer_imports_no_scikit_learn_and_no_mlflow_and_both_can_be_imported():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    started, accuracy = json.loads(done.stdout)
    assert "trl" in started
    assert not {"sklearn", "mlflow"} & set(started)
    assert accuracy == 0.5
