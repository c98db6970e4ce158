"""The compiled transformer against the same maths in float64, and which path a learner takes."""

import copy

import pytest
import torch
from baseline_cases import CPU, replay, through_a_file
from lab_marl.cloning.config import BCConfig
from lab_marl.cloning.learner import BCLearner
from lab_marl.kernel.build import lacking
from lab_marl.kernel.unroll import Kernel
from lab_marl.networks.action_network import ActionNetwork
from lab_marl.networks.config import TransformerConfig
from lab_marl.networks.rows import filled_rows
from lab_marl.networks.transformer import HistoryTransformer
from lab_marl.networks.unroll_path import choose
from labrun import LabError
from stairs_cases import grid_layout, marine_layout, random_batch

needs_kernel = pytest.mark.skipif(bool(lacking()), reason=f"no compiled kernel: {lacking()}")
LAYOUTS = {"cn-4": grid_layout(4), "3m": marine_layout(3, 3), "9m_vs_10m": marine_layout(9, 10)}
LENGTHS = [11, 9, 9, 7, 6, 5, 5, 4, 3, 2, 2, 1]
LONG = 5000


def network(layout, *, extra: int = 0) -> ActionNetwork:
    torch.manual_seed(0)
    made = ActionNetwork(layout, TransformerConfig(), extra=extra)
    with torch.no_grad():  # no gradient is zero by the start's symmetry
        for weight in made.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return made


def scored(made: ActionNetwork, layout, extra: int, dtype: torch.dtype) -> torch.Tensor:
    """Scores of every frame, after the gradient of fixed slopes has gone back."""
    batch = random_batch(layout, LENGTHS)
    batch = type(batch)(
        **{
            name: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
            for name, value in vars(batch).items()
        }
    )
    rows = filled_rows(batch)
    generator = torch.Generator().manual_seed(3)
    size = (int(rows.inside.sum()), layout.num_agents, extra)
    more = torch.randn(size, generator=generator).to(dtype) if extra else None
    scores = made.to(dtype)(batch, rows, more)
    slopes = torch.randn(scores.shape, generator=generator)
    (scores * slopes.to(dtype)).sum().backward()
    return scores.detach()


@needs_kernel
@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("task", LAYOUTS)
def test_scores_and_gradients_are_those_of_float64(task, extra):
    """Within 2e-6 of a tensor's largest gradient, or half as much again as torch's float32."""
    layout = LAYOUTS[task]
    compiled, plain, exact = (network(layout, extra=extra) for _ in range(3))
    compiled.transformer.kernel = lambda: Kernel(64, 256)
    found = scored(compiled, layout, extra, torch.float32)
    scored(plain, layout, extra, torch.float32)
    wanted = scored(exact, layout, extra, torch.float64)
    assert (found.double() - wanted).abs().max() < 2e-6
    errors, torchs = (errors_of(made, exact) for made in (compiled, plain))
    assert max(errors.values()) < max(2e-6, 1.5 * max(torchs.values())), errors


def errors_of(made: ActionNetwork, exact: ActionNetwork) -> dict[str, float]:
    """The largest error of each gradient over its largest element."""
    own = dict(made.named_parameters())
    found = {}
    for name, weight in exact.named_parameters():
        got, gradient = own[name].grad, weight.grad
        assert got is not None
        assert gradient is not None
        found[name] = float((got.double() - gradient).abs().max() / gradient.abs().max())
    return found


@needs_kernel
def test_a_gradient_of_the_gradient_is_refused_and_not_lost():
    kernel = Kernel(64, 256)
    made = HistoryTransformer(TransformerConfig())
    made.kernel = lambda: kernel
    tokens = torch.randn(5, 2, 3, 64, requires_grad=True)
    outputs = made.unroll(tokens, [3, 2], read=1)
    with pytest.raises(RuntimeError, match="first derivatives only; set kernel=torch"):
        torch.autograd.grad(outputs.sum(), tokens, create_graph=True)


def test_who_only_acts_needs_no_compiler(monkeypatch):
    monkeypatch.setattr("lab_marl.networks.unroll_path.lacking", lambda: "no C++ compiler")
    made = learner(kernel="cpp")
    layout = LAYOUTS["cn-4"]
    played = replay(made.policy(), random_batch(layout, [3, 2]))
    assert played.actions.shape[-1] == layout.num_agents
    with pytest.raises(LabError, match="no C\\+\\+ compiler; set trainer"):
        made.update(random_batch(layout, [3, 2]))


def path(**settings) -> str:
    steps = settings.pop("max_steps", LONG)
    layout, device = settings.pop("layout", LAYOUTS["3m"]), settings.pop("device", "cpu")
    return str(choose(TransformerConfig(**settings), [layout], device, max_steps=steps))


@needs_kernel
def test_auto_takes_the_kernel_in_a_long_run_alone():
    assert path() == "cpp (built for this processor)"
    assert path(max_steps=199) == "torch (trainer.max_steps=199 is below 200)"
    assert path(kernel="cpp", max_steps=1) == "cpp (as set)"
    assert path(kernel="torch") == "torch (as set)"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"width": 40}, "trainer.transformer.width=40, the compiled kernel takes a multiple"),
        ({"heads": 2}, "trainer.transformer.heads=2, the compiled kernel takes 1"),
        ({"depth": 2}, "trainer.transformer.depth=2, the compiled kernel takes 1"),
        ({"device": "cuda"}, "for the CPU, the networks lie on cuda"),
        ({"layout": marine_layout(30, 40)}, "has 72 tokens, the compiled kernel takes 64"),
    ],
)
def test_what_the_kernel_cannot_serve_is_refused_or_left_to_torch(settings, said):
    assert said in path(**settings)
    with pytest.raises(LabError, match=r"set trainer\.transformer\.kernel=torch or auto") as caught:
        path(kernel="cpp", **settings)
    assert said in str(caught.value)


def learner(**settings) -> BCLearner:
    config = BCConfig(transformer=TransformerConfig(**settings), max_steps=LONG)
    torch.manual_seed(0)
    return BCLearner([LAYOUTS["cn-4"]], config, device=CPU)


@needs_kernel
@pytest.mark.parametrize("kernel", ["cpp", "torch"])
def test_a_resumed_run_keeps_its_path(kernel):
    batch = random_batch(LAYOUTS["cn-4"], LENGTHS)
    whole = learner(kernel=kernel)
    whole.update(batch)
    state = through_a_file(whole.state_dict())
    whole.update(batch)
    again = learner()  # auto, which would take the kernel
    again.resume(state)
    assert again.unroll.choice.path == kernel
    again.update(batch)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value, rtol=0, atol=0)
    assert again.remarks() == (f"kernel of the transformers: {again.unroll.choice}",)


@needs_kernel
def test_a_state_without_a_path_is_torchs():
    state = learner(kernel="torch").state_dict()
    del state["kernel"]
    made = learner()
    made.resume(through_a_file(state))
    assert str(made.unroll.choice) == "torch (as the run began)"


@needs_kernel
def test_a_run_of_the_kernel_is_not_resumed_where_it_cannot_serve(monkeypatch):
    state = learner(kernel="cpp").state_dict()
    monkeypatch.setattr("lab_marl.networks.unroll_path.lacking", lambda: "no C++ compiler")
    made = learner()
    with pytest.raises(LabError, match="which cannot serve here: no C\\+\\+ compiler; resume"):
        made.resume(state)


@needs_kernel
def test_a_run_of_the_kernel_does_not_go_on_by_torch_where_compiling_fails(monkeypatch, tmp_path):
    state = learner(kernel="cpp").state_dict()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "/bin/false")
    fresh = learner()
    assert fresh.unroll.choice.path == "torch"
    assert "cannot compile the kernel" in fresh.unroll.choice.why
    with pytest.raises(LabError, match="cannot compile the kernel"):
        learner().resume(state)


@needs_kernel
def test_a_network_that_the_kernel_computes_can_be_copied():
    made, batch = learner(kernel="cpp"), random_batch(LAYOUTS["cn-4"], LENGTHS)
    made.update(batch)
    rows = filled_rows(batch)
    with torch.no_grad():
        wanted = made.network(batch, rows)
        assert torch.equal(copy.deepcopy(made.network)(batch, rows), wanted)
