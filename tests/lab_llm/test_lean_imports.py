"""A language-model job starts without packages that it never uses."""

import json
import subprocess
import sys

from forked import start

CODE = """
import json, sys
import lab_llm.training.trainer
started = sorted({name.partition(".")[0] for name in sys.modules})
import scipy.optimize
import sklearn.metrics
_, columns = scipy.optimize.linear_sum_assignment([[2, 1], [1, 2]])
left = [type(one).__name__ for one in sys.meta_path if "lean" in type(one).__module__]
accuracy = sklearn.metrics.accuracy_score([1, 0], [1, 1])
print(json.dumps([started, accuracy, columns.tolist(), left]))
"""


def test_the_trainer_imports_no_scikit_learn_scipy_or_mlflow_and_all_can_be_imported():
    words = [sys.executable, "-c", CODE]
    with start.cold():
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    started, accuracy, columns, left = json.loads(done.stdout)
    assert "trl" in started
    assert not {"sklearn", "scipy", "mlflow"} & set(started)
    assert (accuracy, columns) == (0.5, [1, 0])
    assert left == []
