"""Which path a run takes, what it says, and what a resume does."""

import pytest
import torch
from lab_marl.kernel import build
from lab_marl.kernel.build import lacking
from lab_stairs.config import NetworkConfig, StairsConfig
from lab_stairs.kernel_choice import choose
from lab_stairs.learner import StairsLearner
from labrun import LabError
from labrun.config.components import build as build_parts
from labrun.config.experiments import compose
from stairs_cases import grid_layout, marine_layout

needs_kernel = pytest.mark.skipif(bool(lacking()), reason=f"no compiled kernel: {lacking()}")
LAYOUT = grid_layout(2)


def path(device="cpu", layout=LAYOUT, **settings) -> str:
    return str(choose(StairsConfig(**settings), [layout], device))


def learner(**settings) -> StairsLearner:
    return StairsLearner([LAYOUT], StairsConfig(**settings), device=torch.device("cpu"))


@needs_kernel
def test_auto_takes_the_kernel_in_a_long_run_alone():
    assert path(max_steps=200) == "cpp (built for this processor)"
    ablated = NetworkConfig(spatial=False, temporal=False, gradient="full", h_cycles=2)
    assert path(max_steps=200, network=ablated) == "cpp (built for this processor)"
    assert path(max_steps=199) == "torch (trainer.max_steps=199 is below 200)"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"network": NetworkConfig(width=40)}, "trainer.network.width=40, the compiled kernel"),
        ({"network": NetworkConfig(width=544)}, "trainer.network.width=544, the compiled kernel"),
        ({"network": NetworkConfig(width=512, ffn_factor=5)}, "takes at most 2048 hidden units"),
        ({"network": NetworkConfig(heads=2)}, "trainer.network.heads=2"),
        ({"network": NetworkConfig(h_cycles=2, l_cycles=2)}, "h_cycles=2 l_cycles=2"),
        ({"network": NetworkConfig(gradient="full")}, "trainer.network.gradient=full"),
        ({"no_grad_dtype": "bfloat16"}, "trainer.no_grad_dtype=bfloat16"),
        ({"layout": marine_layout(30, 40)}, "has 72 tokens, the compiled kernel takes 64"),
    ],
)
def test_what_the_kernel_cannot_serve_is_refused_or_left_to_torch(settings, said):
    settings = {"device": "cpu", "layout": LAYOUT, **settings}
    assert said in path(max_steps=5000, **settings)
    with pytest.raises(LabError, match=r"set trainer\.kernel=torch or auto") as refused:
        path(kernel="cpp", **settings)
    assert said in str(refused.value)


def test_a_gpu_takes_cuda_graphs_and_the_compiled_kernel_is_refused_there():
    assert path(device="cuda") == "cuda_graph (on a GPU)"
    assert path(device="cuda", kernel="cuda_graph") == "cuda_graph (as set)"
    assert path(device="cuda", kernel="torch") == "torch (as set)"
    with pytest.raises(LabError, match="for the CPU, the networks lie on cuda"):
        path(device="cuda", kernel="cpp")


def test_a_job_whose_networks_lie_on_a_cpu_after_all_does_not_go_on_without_its_graphs():
    with pytest.raises(LabError, match=r"^trainer\.kernel=cuda_graph needs a GPU"):
        learner(kernel="cuda_graph")


def test_without_a_compiler_torch_computes_and_the_run_says_so(monkeypatch):
    monkeypatch.setattr(build, "processor", lambda: ("avx2",))
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "torch (no C++ compiler" in learner(max_steps=5000).remarks()[0]
    with pytest.raises(LabError, match="no C\\+\\+ compiler"):
        path(kernel="cpp")


@needs_kernel
def test_a_compiler_that_fails_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", ("-no-such-option",))
    with pytest.raises(LabError, match=r"cannot compile the kernel: .*no-such-option"):
        learner(kernel="cpp")
    assert not list(tmp_path.rglob("*.so")) + list(tmp_path.rglob("*.draft"))


@needs_kernel
def test_where_the_compiler_fails_auto_takes_torch_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", ("-no-such-option",))
    made = learner(max_steps=2000)
    assert made.kernel is None
    assert made.state_dict()["kernel"] == "torch"
    (said,) = made.remarks()
    assert said.startswith("kernel of the blocks: torch (")
    assert "cannot compile the kernel: " in said


@needs_kernel
def test_a_folder_that_is_not_to_be_trusted_leaves_auto_to_torch(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "labrun" / "kernels").mkdir(parents=True)
    (tmp_path / "labrun" / "kernels").chmod(0o777)
    assert "may be written by others (mode 0777)" in path(max_steps=2000)
    with pytest.raises(LabError, match=r"^trainer\.kernel=cpp: the folder .* \(mode 0777\)"):
        path(kernel="cpp")


@needs_kernel
def test_the_choice_compiles_nothing_and_makes_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    assert path(kernel="cpp") == "cpp (as set)"
    assert not list(tmp_path.iterdir())


@needs_kernel
def test_a_resumed_run_keeps_its_path_under_auto():
    short, long = learner(max_steps=10), learner(max_steps=2000)
    assert (short.choice.path, long.choice.path) == ("torch", "cpp")
    long.resume(short.state_dict())
    assert long.kernel is None
    short.resume(learner(kernel="cpp").state_dict())
    assert short.kernel is not None


@needs_kernel
def test_a_state_of_an_earlier_version_goes_on_with_torch():
    state = learner().state_dict()
    del state["kernel"]
    made = learner(max_steps=2000)
    made.resume(state)
    assert made.remarks() == ("kernel of the blocks: torch (as the run began)",)


@needs_kernel
def test_a_run_of_the_kernel_is_not_resumed_without_it(monkeypatch):
    state = learner(kernel="cpp").state_dict()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(LabError, match="trained with the compiled kernel, which cannot serve here"):
        learner().resume(state)


def test_a_run_begun_with_cuda_graphs_goes_on_with_torch_on_a_cpu():
    state = learner(max_steps=10).state_dict() | {"kernel": "cuda_graph"}
    long = learner(max_steps=2000, kernel="auto")
    long.resume(state)
    assert str(long.choice) == "torch (the run began on a GPU)"
    assert long.kernel is None


@needs_kernel
def test_a_new_run_from_these_weights_takes_its_own_path():
    long = learner(max_steps=2000)
    long.load_state_dict(learner(max_steps=10).state_dict())
    assert long.choice.path == "cpp"


def planned(*words: str) -> str:
    experiment = compose(["plugin=stairs", "trainer.max_steps=5", *words])
    return str(build_parts(experiment).plan(experiment.run.resources)["trainer"].facts["kernel"])


def test_a_plan_says_what_the_job_will_take_with_its_gpus():
    few = "torch (trainer.max_steps=5 is below 200)"
    assert planned() == few
    assert planned("resources.num_gpus=1") == "cuda_graph (on a GPU)"
    assert planned("resources.num_gpus=1", "trainer.device=cpu") == few
    assert planned("resources.num_gpus=1", "trainer.kernel=cuda_graph") == "cuda_graph (as set)"
    assert planned("resources.num_gpus=1", "trainer.kernel=torch") == "torch (as set)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.kernel=cuda_graph"], "needs a GPU, the networks lie on cpu; set resources.num"),
        (
            ["trainer.kernel=cuda_graph", "trainer.device=cpu", "resources.num_gpus=1"],
            "needs a GPU, the networks lie on cpu",
        ),
        (["trainer.kernel=cpp", "resources.num_gpus=1"], "the networks lie on cuda"),
    ],
)
def test_a_path_that_cannot_serve_is_refused_before_the_run(words, said):
    with pytest.raises(LabError, match=said):
        planned(*words)
